//! Tests in containers: ignored where no engine answers or an image is not here, and failed with that reason where
//! containers were asked for (`REDRILL_SERVICES=containers`).

use std::process::{Command, Stdio};

use libtest_mimic::{Completion, Failed, Trial};

/// What the container engine says, line by line.
pub fn docker(arguments: &[&str]) -> Result<Vec<String>, Failed> {
    let output = Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines.lines().map(str::to_owned).collect())
}

/// Why a test that needs these images cannot run.
fn lacks(images: &[&str]) -> Option<String> {
    let failed = |arguments: &[&str], what: &str| {
        let error = docker(arguments).err()?;
        let error = error.message().unwrap_or_default().trim();
        Some(format!("{what}: {error}"))
    };
    let version = ["version", "--format", "{{.Server.Version}}"];
    failed(&version, "no container engine answers").or_else(|| {
        images.iter().find_map(|image| {
            let here = ["image", "inspect", "--format", "{{.Id}}", image];
            failed(&here, "an image is not here, `make images` builds it")
        })
    })
}

/// A test that needs these images.
pub fn trial(
    name: &str,
    images: &'static [&'static str],
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || {
        let asked_for = std::env::var("REDRILL_SERVICES").is_ok_and(|mode| mode == "containers");
        match lacks(images) {
            Some(reason) if asked_for => Err(reason.into()),
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => test().map(|()| Completion::Completed),
        }
    })
}
