//! Which image serves which engine: pinned per engine and version, remapped by `redrill.toml` or
//! `REDRILL_IMAGE_<ENGINE>` for private registries and air-gapped sites.

use std::path::Path;

use crate::error::{Doing, Error, Result};
use crate::suite::Engine;

/// The S3 servers whose start redrill knows, told apart by the image's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum S3Flavour {
    /// Ceph's RADOS gateway, as built by `make images`.
    Rgw,
    /// MinIO.
    Minio,
    /// RustFS.
    RustFs,
    /// SeaweedFS.
    SeaweedFs,
}

impl S3Flavour {
    /// The flavour that an image's name tells.
    pub fn of(image: &str) -> Result<Self> {
        [
            ("minio", Self::Minio),
            ("rustfs", Self::RustFs),
            ("seaweedfs", Self::SeaweedFs),
            ("rgw", Self::Rgw),
        ]
        .into_iter()
        .find(|(word, _)| image.contains(word))
        .map(|(_, flavour)| flavour)
        .ok_or_else(|| {
            Error::usage(format!(
                "the image {image} is none of the S3 servers that redrill can start"
            ))
            .hint("its name must contain minio, rustfs, seaweedfs or rgw")
        })
    }
}

/// The images that may serve an engine, best first; a remapped one stands alone.
pub(super) fn candidates(engine: Engine, version: Option<&str>) -> Result<Vec<String>> {
    if let Some(image) = remapped(engine)? {
        return Ok(vec![
            image.replace("{version}", version.unwrap_or(default_version(engine))),
        ]);
    }
    let version = version.unwrap_or(default_version(engine));
    Ok(match engine {
        Engine::Postgres => vec![
            format!("postgres:{version}"),
            format!("redrill/postgres:{version}"),
        ],
        Engine::Redis => vec![
            format!("redis:{version}"),
            format!("redrill/redis:{version}"),
        ],
        Engine::Bucket => vec![
            "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z".to_owned(),
            format!("redrill/rgw:{version}"),
        ],
    })
}

fn default_version(engine: Engine) -> &'static str {
    match engine {
        Engine::Postgres => "15",
        Engine::Redis => "7",
        Engine::Bucket => "16",
    }
}

fn remapped(engine: Engine) -> Result<Option<String>> {
    let name = if engine == Engine::Bucket {
        "s3"
    } else {
        engine.id()
    };
    if let Ok(image) = std::env::var(format!("REDRILL_IMAGE_{}", name.to_uppercase())) {
        return Ok(Some(image).filter(|image| !image.is_empty()));
    }
    let path = Path::new("redrill.toml");
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).doing("read redrill.toml")?;
    let table: toml::Table = text
        .parse()
        .map_err(|error| Error::usage(format!("redrill.toml: {error}")))?;
    Ok(table
        .get("images")
        .and_then(|images| images.get(name))
        .and_then(|image| image.as_str())
        .map(str::to_owned))
}

/// Name and tag of an image reference; a colon before the last slash belongs to a registry's port.
pub(super) fn split(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_port_is_not_a_tag() {
        assert_eq!(
            split("registry:5000/team/postgres"),
            ("registry:5000/team/postgres", "latest")
        );
        assert_eq!(
            split("registry:5000/team/postgres:15"),
            ("registry:5000/team/postgres", "15")
        );
        assert_eq!(split("redis:7"), ("redis", "7"));
    }

    #[test]
    fn the_flavour_of_an_s3_server_is_told_by_its_image() {
        assert_eq!(
            S3Flavour::of("quay.io/minio/minio:x").expect("known"),
            S3Flavour::Minio
        );
        assert_eq!(
            S3Flavour::of("redrill/rgw:16").expect("known"),
            S3Flavour::Rgw
        );
        assert!(S3Flavour::of("nginx:1").is_err());
    }
}
