//! The configuration that kube-scheduler is started with.

use std::path::Path;

use serde_json::{Value, json};

/// The values that a scheduler's configuration depends on.
pub(crate) struct SchedulerConfig<'a> {
    pub(crate) kubeconfig: &'a Path,
    /// The scheduler's name, when it isn't the default one.
    pub(crate) name: Option<&'a str>,
    /// The extender to call: its port and the directory of its certificates.
    pub(crate) extender: Option<(u16, &'a Path)>,
}

impl SchedulerConfig<'_> {
    /// The configuration as JSON, which is also YAML.
    pub(crate) fn render(&self) -> Value {
        let mut config = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            // With the scheduler's default of 50 requests a second, tests would measure only that limit.
            "clientConnection": {"kubeconfig": self.kubeconfig, "qps": 2000, "burst": 4000},
            "leaderElection": {"leaderElect": false},
            // The defaults, so that tests meet the same back-off as users.
            "podInitialBackoffSeconds": 1,
            "podMaxBackoffSeconds": 10,
        });
        if let Some(name) = self.name {
            config["profiles"] = json!([{"schedulerName": name}]);
        }
        if let Some((port, tls)) = self.extender {
            config["extenders"] = json!([{
                "urlPrefix": format!("https://127.0.0.1:{port}/scheduler"),
                "filterVerb": "filter",
                "bindVerb": "bind",
                "preemptVerb": "preempt",
                "enableHTTPS": true,
                "tlsConfig": {
                    // Without it the scheduler silently skips verification.
                    "caFile": tls.join("ca.crt"),
                    "certFile": tls.join("scheduler.crt"),
                    "keyFile": tls.join("scheduler.key"),
                    "serverName": "privatekube-extender.privatekube-system.svc",
                },
                "httpTimeout": "10s",
                "nodeCacheCapable": true,
                "ignorable": false,
                "managedResources": [{"name": "privatekube.dev/privacy-budget", "ignoredByScheduler": true}],
            }]);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_extender_none_is_called() {
        let config = SchedulerConfig {
            kubeconfig: Path::new("/k"),
            name: None,
            extender: None,
        }
        .render();
        assert_eq!(config.get("extenders"), None);
        assert_eq!(config["clientConnection"]["kubeconfig"], "/k");
    }

    #[test]
    fn an_extender_is_called_with_certificates_and_is_not_ignorable() {
        let tls = Path::new("/tls");
        let config = SchedulerConfig {
            kubeconfig: Path::new("/k"),
            name: Some("mine"),
            extender: Some((9, tls)),
        }
        .render();
        let extender = &config["extenders"][0];
        assert_eq!(extender["urlPrefix"], "https://127.0.0.1:9/scheduler");
        assert_eq!(extender["tlsConfig"]["caFile"], "/tls/ca.crt");
        assert_eq!(extender["ignorable"], false);
        assert_eq!(config["profiles"][0]["schedulerName"], "mine");
    }
}
