//! [`Side`]: one side of a comparison, as the command line describes it.

use std::path::PathBuf;
use std::str::FromStr;

/// One side of a comparison: which build of PrivateKube runs, and what of it is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Side {
    /// The side's name in the results.
    pub(crate) name: String,
    /// Whether PrivateKube is installed and the scheduler calls its extender.
    pub(crate) installed: bool,
    /// Whether the extender stays after the installation. Without it, only the manifests are measured.
    pub(crate) runs: bool,
    /// The extender's program; `None`: from the environment, else beside this program.
    pub(crate) extender: Option<PathBuf>,
    /// The kustomization that is applied; `None`: `manifests/base` of this workspace.
    pub(crate) manifests: Option<PathBuf>,
    /// Objects that are deleted after the installation, as `KIND/NAME`.
    pub(crate) omitted: Vec<String>,
}

impl Side {
    /// PrivateKube as it is built now.
    pub(crate) fn present() -> Self {
        Self {
            name: "present".to_owned(),
            installed: true,
            runs: true,
            extender: None,
            manifests: None,
            omitted: Vec::new(),
        }
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err("a side begins with its name, as in old:extender=PATH".to_owned());
        }
        let mut side = Self {
            name: name.to_owned(),
            ..Self::present()
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("extender", path)) => side.extender = Some(path.into()),
                Some(("manifests", path)) => side.manifests = Some(path.into()),
                Some(("installed", value)) => side.installed = truth("installed", value)?,
                Some(("runs", value)) => side.runs = truth("runs", value)?,
                Some(("omit", object)) if object.contains('/') => side.omitted.push(object.to_owned()),
                _ => {
                    return Err(format!(
                        "{option:?} is no option of a side: extender=PATH, manifests=DIR, installed=BOOL, \
                         runs=BOOL and omit=KIND/NAME are"
                    ));
                }
            }
        }
        Ok(side)
    }
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    value
        .parse()
        .map_err(|_| format!("{name}={value}: true and false are accepted"))
}

#[cfg(test)]
mod tests {
    use super::Side;

    #[test]
    fn a_name_alone_is_the_present_build() {
        let side: Side = "now".parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            side,
            Side {
                name: "now".to_owned(),
                ..Side::present()
            }
        );
    }

    #[test]
    fn options_follow_the_name() {
        let text = "old:extender=/a,manifests=/b,omit=crd/x,omit=crd/y,runs=false";
        let side: Side = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(side.extender, Some("/a".into()));
        assert_eq!(side.manifests, Some("/b".into()));
        assert_eq!(side.omitted, ["crd/x", "crd/y"]);
        assert!(side.installed && !side.runs);
    }

    #[test]
    fn a_mistake_is_answered_with_what_is_accepted() {
        for text in [
            "",
            ":installed=false",
            "a:installed=maybe",
            "a:color=red",
            "a:omit=x",
        ] {
            let error = text.parse::<Side>().expect_err(text);
            assert!(!error.is_empty());
        }
    }
}
