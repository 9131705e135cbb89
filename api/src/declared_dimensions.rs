//! The dimensions that a dataset declares: each block of it has these, with these types, and one of them may say which
//! blocks are newer.

use std::{collections::BTreeMap, fmt};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Dimension, Dimensions, FieldError, FieldErrors, PrivateDatasetSpec};

/// The most dimensions that a dataset may declare: as many as a block may have.
const MOST_DIMENSIONS: usize = 32;
/// The longest name of a dimension.
const MOST_CHARACTERS: usize = 63;

/// A dimension that each block of a dataset has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct DimensionSpec {
    /// Its name. Example: day.
    #[schemars(length(min = 1, max = MOST_CHARACTERS))]
    #[x_kube(validation = Rule::new("self.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')").message(
        "the name of a dimension is at most 63 letters, digits and '_', and begins with no digit"))]
    pub name: String,
    /// The type of its values: Integer or String. Example: Integer.
    #[serde(rename = "type")]
    pub type_: DimensionType,
}

/// The type of a dimension's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DimensionType {
    /// Integers, written without quotes.
    Integer,
    /// Strings.
    String,
}

impl fmt::Display for DimensionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integer => "Integer",
            Self::String => "String",
        })
    }
}

/// The dimensions that a dataset declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredDimensions {
    types: BTreeMap<String, DimensionType>,
    time: Option<String>,
}

impl DeclaredDimensions {
    /// The dimension by which blocks are newer or older; none if they go by the creation of their objects.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.time.as_deref()
    }

    /// Checks that a block has all of these dimensions, each with its type. It may have others.
    pub fn check(&self, dimensions: &Dimensions) -> Result<(), FieldErrors> {
        let mut errors = Vec::new();
        for (name, type_) in &self.types {
            let problem = match (type_, dimensions.get(name)) {
                (DimensionType::Integer, Some(Dimension::Number(_)))
                | (DimensionType::String, Some(Dimension::Text(_))) => continue,
                (_, None) => {
                    format!("is missing: each block of the dataset has it, with a value of type {type_}")
                }
                (DimensionType::Integer, Some(value @ Dimension::Text(_))) => format!(
                    "{value} is a string, and the dataset declares it as {type_}: write an integer, without quotes"
                ),
                (DimensionType::String, Some(value @ Dimension::Number(_))) => format!(
                    "{value} is an integer, and the dataset declares it as {type_}: write the value in quotes (YAML \
                     reads 01234 without quotes as the number 668)"
                ),
            };
            errors.push(FieldError::new(format!("spec.dimensions.{name}"), problem));
        }
        FieldErrors::unless_empty(errors, Some(()))
    }
}

impl PrivateDatasetSpec {
    /// Returns the dimensions that each block of the dataset must have. They are none of the dataset's rules: they may
    /// change.
    pub fn declared_dimensions(&self) -> Result<DeclaredDimensions, FieldErrors> {
        const FIELD: &str = "spec.dimensions";
        if self.dimensions.len() > MOST_DIMENSIONS {
            return Err(FieldError::new(
                FIELD,
                format_args!(
                    "are {}: at most {MOST_DIMENSIONS} are accepted",
                    self.dimensions.len()
                ),
            )
            .into());
        }
        let mut errors = Vec::new();
        let mut types = BTreeMap::new();
        for (at, declared) in self.dimensions.iter().enumerate() {
            let name = &declared.name;
            if !is_dimension_name(name) {
                errors.push(FieldError::new(
                    format!("{FIELD}[{at}].name"),
                    format_args!(
                        "{name:?} is not the name of a dimension: write at most {MOST_CHARACTERS} letters, digits and \
                         '_', and no digit first"
                    ),
                ));
            }
            if types.insert(name.clone(), declared.type_).is_some() {
                errors.push(FieldError::new(
                    format!("{FIELD}[{at}].name"),
                    format_args!("{name:?} is given twice: write each dimension once"),
                ));
            }
        }
        if let Some(time) = self
            .time_dimension
            .as_ref()
            .filter(|time| !types.contains_key(*time))
        {
            errors.push(FieldError::new(
                "spec.timeDimension",
                format_args!("{time:?} is not among spec.dimensions: declare it there, with its type"),
            ));
        }
        let declared = DeclaredDimensions {
            types,
            time: self.time_dimension.clone(),
        };
        FieldErrors::unless_empty(errors, Some(declared))
    }
}

fn is_dimension_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins_well = name.chars().next().is_some_and(|first| !first.is_ascii_digit());
    begins_well && name.len() <= MOST_CHARACTERS && name.chars().all(is_word)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared(spec: &serde_json::Value) -> Result<DeclaredDimensions, FieldErrors> {
        let mut all = json!({"unlocking": {"immediate": true}});
        all.as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        let spec: PrivateDatasetSpec = serde_json::from_value(all).unwrap();
        spec.check()?;
        spec.declared_dimensions()
    }

    #[test]
    fn a_block_has_each_declared_dimension_with_its_type() {
        let declared = declared(&json!({
            "dimensions": [{"name": "day", "type": "Integer"}, {"name": "zip", "type": "String"}],
            "timeDimension": "day",
        }))
        .unwrap();
        assert_eq!(declared.time(), Some("day"));
        let checked = |dimensions: serde_json::Value| {
            let dimensions: Dimensions = serde_json::from_value(dimensions).unwrap();
            declared.check(&dimensions).map_err(|error| error.to_string())
        };
        assert_eq!(checked(json!({"day": 1, "zip": "01234", "more": 1})), Ok(()));
        for (dimensions, field, says) in [
            (json!({"zip": "01234"}), "day", "is missing"),
            (json!({"day": "20779", "zip": "01234"}), "day", "without quotes"),
            (json!({"day": 1, "zip": 668}), "zip", "in quotes"),
        ] {
            let error = checked(dimensions).unwrap_err();
            assert!(
                error.starts_with(&format!("spec.dimensions.{field}: ")) && error.contains(says),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_declared_badly_is_refused_with_its_field() {
        let day = json!({"name": "day", "type": "Integer"});
        for (spec, field) in [
            (json!({"dimensions": [day, day]}), "spec.dimensions[1].name"),
            (
                json!({"dimensions": [{"name": "1a", "type": "String"}]}),
                "spec.dimensions[0].name",
            ),
            (
                json!({"dimensions": [{"name": "", "type": "String"}]}),
                "spec.dimensions[0].name",
            ),
            (json!({"timeDimension": "day"}), "spec.timeDimension"),
            (json!({"dimensions": vec![day.clone(); 33]}), "spec.dimensions"),
        ] {
            assert_eq!(declared(&spec).unwrap_err().iter().next().unwrap().field, field);
        }
        assert_eq!(declared(&json!({})), Ok(DeclaredDimensions::default()));
        let name = |name: &str| json!({"name": name, "type": "String"});
        let several = json!({"dimensions": [name("1a"), name("b"), name("b")], "timeDimension": "day"});
        let errors = declared(&several).unwrap_err();
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.dimensions[0].name",
                "spec.dimensions[2].name",
                "spec.timeDimension"
            ]
        );
    }
}
