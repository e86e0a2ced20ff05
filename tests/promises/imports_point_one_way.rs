//! The import rules of ARCHITECTURE.md, which this reads, hold in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The lines of the fenced block that begins with "```NAME", as `left: right ..`.
fn block(name: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let fence = format!("```{name}\n");
    let start = text
        .find(&fence)
        .expect("ARCHITECTURE.md has no such block")
        + fence.len();
    let rest = &text[start..];
    let lines = rest[..rest.find("```").unwrap()].lines();
    lines
        .map(|line| {
            let (left, right) = line.split_once(':').expect("a rule is `left: right ..`");
            let right = right.split_whitespace().map(str::to_owned).collect();
            (left.trim().to_owned(), right)
        })
        .collect()
}

/// Every source file of the library: its path below `src`, and its code without
/// comments and tests.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, base: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                walk(&path, base, found);
            } else if name.ends_with(".rs") && !name.ends_with("_tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let name = path
                    .strip_prefix(base)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('\\', "/");
                found.push((name, code(&text)));
            }
        }
    }
    let base = root().join("tower-token/src");
    let mut found = Vec::new();
    walk(&base, &base, &mut found);
    assert!(found.len() > 30);
    found
}

fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// The identifiers that follow `prefix` in `code`, braces included.
fn after<'a>(code: &'a str, prefix: &str) -> Vec<&'a str> {
    let boundary = |before: Option<char>| !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(prefix)
        .filter(|(at, _)| boundary(code[..*at].chars().next_back()))
        .map(|(at, _)| {
            let rest = &code[at + prefix.len()..];
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            &rest[..end]
        })
        .collect()
}

/// Whether `code` uses something of the crate `name`.
fn names(code: &str, name: &str) -> bool {
    code.lines().any(|line| {
        let line = line.trim();
        let import = line.strip_prefix("use ").unwrap_or("");
        import.starts_with(&format!("{name}::"))
            || import.starts_with(&format!("{name} "))
            || (!line.starts_with("use ")
                && !line.starts_with("pub use")
                && !after(line, &format!("{name}::")).is_empty()
                && !line.contains(&format!("self::{name}::"))
                && !line.contains(&format!("super::{name}::")))
    })
}

fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

#[test]
fn modules_import_only_what_is_below_them() {
    let rules = block("imports");
    for (file, code) in sources() {
        let module = module(&file);
        if module == "lib" {
            continue;
        }
        let allowed = rules
            .get(module)
            .unwrap_or_else(|| panic!("{module} has no rule"));
        for imported in after(&code, "crate::") {
            assert!(
                imported == module || allowed.contains(imported),
                "{file} imports crate::{imported:?}, which ARCHITECTURE.md does not allow"
            );
        }
    }
}

#[test]
fn a_crate_that_may_be_replaced_is_named_in_one_file() {
    let rules = block("one-file");
    for (file, code) in sources() {
        for (name, home) in &rules {
            let at_home = |home: &String| match home.ends_with('/') {
                true => file.starts_with(home),
                false => file == *home,
            };
            assert!(
                !names(&code, name) || home.iter().any(at_home),
                "{file} names {name}, whose home is {home:?}"
            );
        }
    }
}

#[test]
fn what_shuttle_runs_names_no_runtime_and_no_lock() {
    let rules = block("names-none");
    for (place, crates) in rules {
        let mut files = sources();
        files.retain(|(file, _)| file.starts_with(&place));
        assert!(!files.is_empty(), "{place} is not there");
        for (file, code) in files {
            let named = crates.iter().find(|name| names(&code, name));
            assert!(named.is_none(), "{file} names {named:?}: take it from rt/");
        }
    }
}

#[test]
fn time_is_read_in_one_file() {
    for (file, code) in sources() {
        let reads = code.contains("SystemTime::now") || code.contains("Instant::now");
        assert!(!reads || file == "clock.rs", "{file} reads the time");
    }
}

#[test]
fn a_broken_rule_is_found() {
    assert_eq!(
        after("use crate::store::x; super::crate::y", "crate::"),
        ["store", "y"]
    );
    assert_eq!(
        code("a // crate::b\n#[cfg(test)]\nmod tests { crate::c }"),
        "a "
    );
    assert_eq!(module("store/sled/engine.rs"), "store");
}
