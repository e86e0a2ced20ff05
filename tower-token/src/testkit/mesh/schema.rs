//! Whether a request has the documented fields, and no others.

use serde_json::{Map, Value};

/// What the value of a field is.
pub(super) enum Kind {
    /// Of this many characters, from and to.
    Text(usize, usize),
    Uuid,
    Bool,
    Number,
    Texts,
    /// Any names, each with text or null.
    Names,
    Object(&'static [Field]),
    Objects(&'static [Field]),
}

/// One documented field.
pub(super) struct Field {
    name: &'static str,
    kind: Kind,
    required: bool,
    nullable: bool,
}

/// A field that has to be there.
pub(super) const fn required(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: true,
        nullable: false,
    }
}

/// A field that may be left out.
pub(super) const fn optional(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
        nullable: false,
    }
}

/// A field that may be left out, or null.
pub(super) const fn nullable(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
        nullable: true,
    }
}

/// Checks an object; otherwise says which field is wrong, and how.
pub(super) fn check(fields: &[Field], value: &Value) -> Result<(), String> {
    let Value::Object(object) = value else {
        return Err("an object is wanted".to_owned());
    };
    if let Some(name) = unknown(fields, object) {
        return Err(format!("{name} is not a known field"));
    }
    for field in fields {
        let problem = match object.get(field.name) {
            None if field.required => Some("is missing".to_owned()),
            None => None,
            Some(Value::Null) if field.nullable => None,
            Some(value) => kind(&field.kind, value).err(),
        };
        if let Some(problem) = problem {
            return Err(format!("{} {problem}", field.name));
        }
    }
    Ok(())
}

fn unknown<'a>(fields: &[Field], object: &'a Map<String, Value>) -> Option<&'a String> {
    let mut names = object.keys();
    names.find(|name| fields.iter().all(|field| field.name != *name))
}

fn kind(kind: &Kind, value: &Value) -> Result<(), String> {
    let wanted = |holds: bool, what: &str| match holds {
        true => Ok(()),
        false => Err(format!("has to be {what}")),
    };
    match (kind, value) {
        (Kind::Text(from, to), Value::String(text)) => {
            let length = (*from..=*to).contains(&text.chars().count());
            wanted(length, &format!("{from} to {to} characters long"))
        }
        (Kind::Text(..), _) => wanted(false, "text"),
        (Kind::Uuid, value) => wanted(value.as_str().is_some_and(is_uuid), "a UUID"),
        (Kind::Bool, value) => wanted(value.is_boolean(), "true or false"),
        (Kind::Number, value) => wanted(value.is_number(), "a number"),
        (Kind::Texts, Value::Array(values)) => {
            wanted(values.iter().all(Value::is_string), "a list of text")
        }
        (Kind::Names, Value::Object(names)) => {
            let texts = names
                .values()
                .all(|value| value.is_string() || value.is_null());
            wanted(texts, "an object of text")
        }
        (Kind::Object(fields), value) => {
            check(fields, value).map_err(|why| format!("is odd: {why}"))
        }
        (Kind::Objects(fields), Value::Array(values)) => values
            .iter()
            .try_for_each(|value| check(fields, value))
            .map_err(|why| format!("is odd: {why}")),
        (Kind::Texts | Kind::Objects(_), _) => wanted(false, "a list"),
        (Kind::Names, _) => wanted(false, "an object"),
    }
}

/// 8-4-4-4-12 hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    let lengths = groups.iter().map(|group| group.len());
    lengths.eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const INNER: &[Field] = &[optional("flag", Kind::Bool)];
    const FIELDS: &[Field] = &[
        required("name", Kind::Text(1, 3)),
        nullable("id", Kind::Uuid),
        nullable("amount", Kind::Number),
        nullable("notes", Kind::Names),
        nullable("words", Kind::Texts),
        nullable("inner", Kind::Object(INNER)),
        optional("list", Kind::Objects(INNER)),
    ];

    #[test]
    fn what_is_documented_is_taken() {
        for good in [
            json!({ "name": "äöü" }),
            json!({ "name": "a", "id": null, "amount": null, "inner": null }),
            json!({
                "name": "a", "id": "0190a0a0-0000-8000-8000-00000000000F", "amount": 1.5,
                "notes": { "x": "y", "z": null }, "words": ["a"], "inner": { "flag": true },
                "list": [{}, { "flag": false }],
            }),
        ] {
            assert_eq!(check(FIELDS, &good), Ok(()), "{good}");
        }
    }

    #[test]
    fn anything_else_is_named() {
        for (bad, why) in [
            (json!([]), "an object is wanted"),
            (json!({}), "name is missing"),
            (json!({ "name": null }), "name has to be text"),
            (
                json!({ "name": "" }),
                "name has to be 1 to 3 characters long",
            ),
            (
                json!({ "name": "abcd" }),
                "name has to be 1 to 3 characters long",
            ),
            (
                json!({ "name": "a", "Name": "a" }),
                "Name is not a known field",
            ),
            (json!({ "name": "a", "id": "x" }), "id has to be a UUID"),
            (
                json!({ "name": "a", "amount": "1" }),
                "amount has to be a number",
            ),
            (
                json!({ "name": "a", "notes": { "x": 1 } }),
                "notes has to be an object of text",
            ),
            (
                json!({ "name": "a", "words": [1] }),
                "words has to be a list of text",
            ),
            (
                json!({ "name": "a", "inner": { "flag": null } }),
                "inner is odd: flag has to be true or false",
            ),
            (
                json!({ "name": "a", "list": null }),
                "list has to be a list",
            ),
            (
                json!({ "name": "a", "list": [{ "x": 1 }] }),
                "list is odd: x is not a known field",
            ),
        ] {
            assert_eq!(check(FIELDS, &bad), Err(why.to_owned()), "{bad}");
        }
    }
}
