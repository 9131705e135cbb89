//! Who may read the page. It shows claims of all namespaces, so it is served at loopback addresses only: in a cluster it is
//! reached by `kubectl port-forward`, which takes rights in the extender's own namespace. What is left to keep out are other
//! sites in the browser of somebody who may read it.

use std::net::SocketAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Scripts, styles and requests only from the page itself, nothing inline, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Parses the address of the page, which has to be a loopback address.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| format!("{text:?} is not an address: write one like 127.0.0.1:8090"))?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "{address} can be reached by others: the page shows the claims of all namespaces to whoever reaches it, so its address \
         has to be a loopback address, like 127.0.0.1:8090; read it by kubectl port-forward"
    ))
}

/// Refuses requests that another site makes, and adds the headers that protect the page.
pub(super) async fn protect(request: Request, next: Next) -> Response {
    let mut answer = match refusal(request.headers(), request.uri()) {
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    };
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    answer
}

/// Why a request is refused. A site whose name is made to resolve to this machine shows in the header `Host`, and a request
/// that another site makes in `Sec-Fetch-Site`; a link from there may be followed.
fn refusal(headers: &HeaderMap, uri: &Uri) -> Option<&'static str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.or(uri.host()).is_some_and(is_local) {
        return Some("this page is read as localhost or 127.0.0.1, and by no other name\n");
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = header("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let is_link =
        header("sec-fetch-mode") == Some("navigate") && header("sec-fetch-dest") == Some("document");
    (!is_own && !is_link).then_some("this page answers no requests of other sites\n")
}

/// Whether a host with a port or without is this machine.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_served_at_loopback_addresses_only() {
        for text in ["127.0.0.1:8090", "127.0.0.2:1", "[::1]:8090"] {
            assert!(parse_address(text).is_ok(), "{text}");
        }
        for text in ["0.0.0.0:8090", "[::]:8090", "10.0.0.1:8090"] {
            let problem = parse_address(text).unwrap_err();
            assert!(problem.contains("loopback"), "{problem}");
        }
        assert!(parse_address("localhost").unwrap_err().contains("127.0.0.1:8090"));
    }

    #[test]
    fn other_names_and_other_sites_are_refused() {
        let refused = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            refusal(&pairs.collect(), &Uri::from_static("/")).is_some()
        };
        for host in ["localhost:8090", "127.0.0.1", "[::1]:8090", "[::1]"] {
            assert!(!refused(&[("host", host)]), "{host}");
        }
        for host in [
            "evil.example:8090",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "",
        ] {
            assert!(refused(&[("host", host)]), "{host}");
        }
        assert!(refused(&[]));
        let local = ("host", "localhost:8090");
        assert!(!refused(&[local, ("sec-fetch-site", "same-origin")]));
        assert!(refused(&[
            local,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors")
        ]));
        let frame = [
            local,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "iframe"),
        ];
        assert!(refused(&frame));
        let link = [
            local,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert!(!refused(&link));
    }
}
