//! The shipped policy scripts, built in for a demo that is started outside the repository.

/// A list of (name, text).
macro_rules! scripts {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../scripts/", $name)))),+]
    };
}

/// All scripts of `scripts/` by rising name, as a directory is read; without its tests.
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
    use crate::control::ConfigSource;

    #[test]
    fn the_scripts_of_the_directory_are_all_built_in() {
        let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.toml");
        let plan = ConfigSource::File(config).load().expect("a good configuration").plan;
        let read: Vec<(&str, &str)> =
            plan.scripts.files.iter().map(|file| (&*file.name, &*file.text)).collect();
        assert_eq!(ALL, read);
    }
}
