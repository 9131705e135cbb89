//! The API server's errors in words for people: the library's own texts repeat each answer in the form of its fields.

use kube::Error;

/// How the API server's message begins when it can't call a webhook, before the webhook's name in quotes.
const WEBHOOK_FAILS: &str = "failed calling webhook \"";

/// What an error says, without its form.
#[must_use]
pub fn plain(error: &Error) -> String {
    match error {
        Error::Api(status) if status.message.is_empty() => format!(
            "the API server answers with status {} {}",
            status.code, status.reason
        )
        .trim_end()
        .to_owned(),
        Error::Api(status) => status.message.clone(),
        // The cause says more than what failed.
        Error::Service(cause) => {
            let mut text = cause.to_string();
            let mut cause = cause.source();
            while let Some(deeper) = cause {
                let more = deeper.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                cause = deeper.source();
            }
            format!("the API server can't be reached: {text}")
        }
        error => error.to_string(),
    }
}

/// The name of the webhook that the API server could not call, if that is why it refused a request.
#[must_use]
pub fn unreachable_webhook(error: &Error) -> Option<&str> {
    let Error::Api(status) = error else {
        return None;
    };
    let (_, rest) = status.message.split_once(WEBHOOK_FAILS)?;
    rest.split_once('"').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answer(code: u16, reason: &str, message: &str) -> Error {
        Error::Api(Box::new(Status {
            code,
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..Status::default()
        }))
    }

    #[test]
    fn an_answer_is_told_without_its_form() {
        let refused = answer(403, "Forbidden", "pods \"a\" is forbidden: exceeded quota");
        assert_eq!(plain(&refused), "pods \"a\" is forbidden: exceeded quota");
        assert_eq!(
            plain(&answer(503, "", "")),
            "the API server answers with status 503"
        );
        let unreachable = Error::Service(Box::new(std::io::Error::other("connection refused")));
        assert_eq!(
            plain(&unreachable),
            "the API server can't be reached: connection refused"
        );
    }

    #[test]
    fn a_webhook_that_cannot_be_called_is_named() {
        let message = "Internal error occurred: failed calling webhook \"blocks.privatekube.dev\": failed to call webhook: \
                       Post \"https://a/b\": dial tcp 127.0.0.1:1: connect: connection refused";
        let error = answer(500, "InternalError", message);
        assert_eq!(unreachable_webhook(&error), Some("blocks.privatekube.dev"));
        assert_eq!(unreachable_webhook(&answer(500, "InternalError", "no")), None);
    }
}
