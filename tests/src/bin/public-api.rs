//! `public-api FILE [CRATE..]`: which crates the public API names, from rustdoc's JSON. Fails
//! if one is neither on the list nor given besides: another crate's type in a signature would
//! make its major version ours.

#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::BoxError;

const ALLOWED: [&str; 9] = [
    "alloc",
    "bytes",
    "core",
    "futures_core",
    "http",
    "http_body",
    "std",
    "tower_layer",
    "tower_service",
];

fn main() -> Result<(), BoxError> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("usage: public-api FILE [CRATE..]")?;
    let besides: Vec<_> = args.collect();
    let doc: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let items = doc["index"].as_object().ok_or("no index")?;
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for item in items.values().filter(|item| item["crate_id"] == 0) {
        let inner = &item["inner"];
        let generated = &inner["impl"];
        // What the compiler adds by itself, or pin-project-lite for it, is no signature.
        let unpin = generated["trait"]["path"] == "Unpin";
        if unpin || generated["is_synthetic"] == true || !generated["blanket_impl"].is_null() {
            continue;
        }
        let mut ids = BTreeSet::new();
        collect(inner, &mut ids);
        for id in ids {
            let path = &doc["paths"][&id];
            let krate = path["crate_id"].as_u64().unwrap_or(0);
            if krate == 0 {
                continue;
            }
            let krate = doc["external_crates"][krate.to_string()]["name"].as_str();
            let name = item["name"].as_str().unwrap_or("an impl");
            named.entry(krate.unwrap_or("?")).or_default().insert(name);
        }
    }
    if named.len() < 4 {
        return Err("hardly a crate is named: this check does not see the API".into());
    }
    println!(
        "the public API names: {}",
        named.keys().copied().collect::<Vec<_>>().join(", ")
    );
    let foreign: Vec<_> = named
        .iter()
        .filter(|(name, _)| !ALLOWED.contains(name) && !besides.iter().any(|given| given == *name))
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(format!("crates that must not be in the public API: {foreign:#?}").into())
}

/// Every id that `value` refers to as a type or a trait.
fn collect(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if matches!(name.as_str(), "resolved_path" | "trait" | "trait_")
                    && let Some(id) = field["id"].as_u64()
                {
                    ids.insert(id.to_string());
                }
                collect(field, ids);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, ids)),
        _ => {}
    }
}
