//! The shipped policies, for a demo that is started outside the repository.

/// Each by its name and its text.
macro_rules! scripts {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../scripts/", $name)))),+]
    };
}

/// By rising name, as `[scripts] dir` has them; its tests stay there.
pub const ALL: &[(&str, &str)] = scripts![
    "ab-split.rhai",
    "api-version.rhai",
    "audit-counters.rhai",
    "envelope.rhai",
    "hmac-signature.rhai",
    "legacy-shape.rhai",
    "lib/http.rhai",
    "lib/net.rhai",
    "lib/settings.rhai",
    "maintenance.rhai",
    "redact.rhai",
    "tenant.rhai",
    "validate-body.rhai",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::source::read_scripts;

    #[test]
    fn the_scripts_of_the_directory_are_all_built_in() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        let there = read_scripts(&dir).expect("scripts/ is there");
        let there: Vec<(&str, &str)> = there.iter().map(|file| (&*file.name, &*file.text)).collect();
        assert_eq!(ALL, there);
    }
}
