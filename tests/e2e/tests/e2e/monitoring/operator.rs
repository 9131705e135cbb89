//! The kustomizations of `monitoring/` are accepted by the published schemas of the Prometheus operator.

use std::ffi::OsStr;

use anyhow::{Result, ensure};
use privatekube_cluster::operator_definitions;
use privatekube_e2e::TestEnvironment;

use super::path;

/// Applies the operator's definitions, then both kustomizations with strict validation: a field that the schema doesn't have
/// is an error.
pub(super) async fn monitoring_is_applied(env: &TestEnvironment) -> Result<()> {
    let definitions = operator_definitions()?;
    let apply = |flag: &'static str, what: &OsStr| {
        let arguments = ["apply", "--server-side", "--validate=strict", flag]
            .map(OsStr::new)
            .into_iter()
            .chain([what])
            .map(OsStr::to_owned)
            .collect::<Vec<_>>();
        env.cluster.kubectl(arguments)
    };
    apply("-f", definitions.as_os_str()).await?;
    let established = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
        "--all",
    ];
    env.cluster.kubectl(established).await?;
    for kustomization in ["monitoring", "monitoring/podmonitor"] {
        apply("-k", path(kustomization).as_os_str()).await?;
    }
    let kinds = "servicemonitors,podmonitors,prometheusrules";
    let made = env
        .cluster
        .kubectl(["get", kinds, "-n", "privatekube-system", "-o", "name"])
        .await?;
    ensure!(made.lines().count() == 3, "{made}");
    Ok(())
}
