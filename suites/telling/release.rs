//! `redrill gate --run` of a suite with a release: its migrations on the restored copy, good ones and bad ones.

use std::process::Command;

use serde_json::Value;

use super::place::{Outcome, Place, SUITE, all, exits, says};

const RELEASE: &str = r#"
[release]
migrations = "migrations"
[[release.smoke]]
name = "orders have a state"
ask = "select count(*) from information_schema.columns where table_name = 'orders' and column_name = 'state'"
expect = 1
"#;

const GOOD: &str = "create table public.orders (id int primary key, note text);\n";

/// A place whose suite names a release, of migrations by name.
fn place(release: &str, migrations: &[(&str, &str)]) -> Place {
    let place = Place::new();
    place.write("shop.toml", &format!("{SUITE}{release}"));
    std::fs::create_dir(place.path("migrations")).expect("a folder");
    for (name, text) in migrations {
        place.write(&format!("migrations/{name}"), text);
    }
    place.commit("release");
    place
}

fn gate(place: &Place, more: &[&str]) -> std::process::Output {
    place.redrill(&[&["gate", "shop.toml"][..], more].concat())
}

pub fn a_release_whose_migrations_hold_opens_the_gate() -> Outcome {
    let good = [
        ("001_orders.sql", GOOD),
        (
            "002_state.sql",
            "alter table public.orders add state text not null default 'new';\n",
        ),
    ];
    let place = place(RELEASE, &good);
    let closed = gate(&place, &[]);
    exits(&closed, 5)?;
    says(
        &closed,
        &["no-record: shop/release", "redrill gate shop.toml --run"],
    )?;
    let output = gate(&place, &["--run", "--services", "local"]);
    exits(&output, 0)?;
    says(&output, &["GATE OPEN", "shop/release", "holds"])?;
    // What was shown once needs no second run; another commit does.
    exits(&gate(&place, &[]), 0)?;
    place.commit("another");
    exits(&gate(&place, &[]), 5)
}

pub fn migrations_that_were_changed_since_close_the_gate() -> Outcome {
    let place = place(
        &format!("{RELEASE}[gate]\ncommit = \"any\"\n"),
        &[
            ("001_orders.sql", GOOD),
            (
                "002_state.sql",
                "alter table public.orders add state text;\n",
            ),
        ],
    );
    exits(&gate(&place, &["--run", "--services", "local"]), 0)?;
    place.write(
        "migrations/002_state.sql",
        "alter table public.orders add state text not null;\n",
    );
    let output = gate(&place, &[]);
    exits(&output, 5)?;
    says(&output, &["other-release", "redrill gate shop.toml --run"])?;
    exits(&gate(&place, &["--run", "--services", "local"]), 0)
}

pub fn a_migration_that_fails_closes_the_gate_and_is_named() -> Outcome {
    let bad = [
        ("001_orders.sql", GOOD),
        (
            "002_state.sql",
            "alter table public.missing add state text;\n",
        ),
        ("003_later.sql", GOOD),
    ];
    let place = place(RELEASE, &bad);
    let output = gate(&place, &["--run", "--services", "local"]);
    exits(&output, 5)?;
    says(
        &output,
        &[
            "GATE CLOSED",
            "release-failed",
            "002_state.sql failed on the restored copy",
            "\"public.missing\" does not exist",
            "mend the migration",
        ],
    )?;
    // The release alone is at fault.
    let record: Value = serde_json::from_slice(&std::fs::read(place.run()?.join("record.json"))?)?;
    let drills = record["drills"].as_array().ok_or("no drills")?;
    let checks = drills
        .iter()
        .flat_map(|drill| drill["checks"].as_array().into_iter().flatten());
    let failed: Vec<&str> = checks
        .filter(|check| check["verdict"] != "passed")
        .filter_map(|check| check["id"].as_str())
        .collect();
    match failed == ["release"] {
        true => Ok(()),
        false => Err(format!("{failed:?}\n{}", all(&output)).into()),
    }
}

pub fn an_answer_that_changes_after_the_migrations_closes_the_gate() -> Outcome {
    let place = place(RELEASE, &[("001_orders.sql", GOOD)]);
    let output = gate(&place, &["--run", "--services", "local"]);
    exits(&output, 5)?;
    says(
        &output,
        &[
            "release-failed",
            "orders have a state",
            "answered `0`, expected 1",
        ],
    )
}

pub fn a_folder_without_migrations_opens_nothing() -> Outcome {
    let place = place("[release]\nmigrations = \"migrations\"\n", &[]);
    let output = gate(&place, &["--run", "--services", "local"]);
    exits(&output, 5)?;
    says(&output, &["release-failed", "no SQL file"])
}

pub fn a_command_migrates_too_and_its_failure_is_told_without_the_password() -> Outcome {
    let suite = "[release]\ncommand = [\"./migrate.sh\", \"up\"]\n";
    let place = place(suite, &[]);
    let script = |body: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        place.write("migrate.sh", &format!("#!/bin/sh\n{body}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(place.path("migrate.sh"), mode).expect("executable");
        place.commit("script");
    };
    let psql = "export PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -1); psql -X -q -v ON_ERROR_STOP=1 \"$DATABASE_URL\"";
    script(&format!(
        "test \"$1\" = up && {psql} -c 'create table public.made (id int)'"
    ));
    exits(&gate(&place, &["--run", "--services", "local"]), 0)?;
    // It says what it was told, as scripts do under set -x, and keeps a copy for this test alone.
    script(
        "printf %s \"$DATABASE_URL\" > tmp/told; echo \"no such luck at $DATABASE_URL\" >&2; exit 7",
    );
    let output = gate(&place, &["--run", "--services", "local"]);
    exits(&output, 5)?;
    // That it was written into the log of the step is a finding of its own.
    says(
        &output,
        &[
            "./migrate.sh up failed on the restored copy: exit code 7",
            "it failed (release, secrets)",
        ],
    )?;
    let url = std::fs::read_to_string(place.path("tmp/told"))?;
    let password = url
        .split_once("//")
        .and_then(|(_, rest)| rest.split_once('@'));
    let password = password.and_then(|(login, _)| login.split_once(':'));
    let (_, password) = password
        .filter(|(_, it)| it.len() >= 8)
        .ok_or(url.clone())?;
    if all(&output).contains(password) {
        return Err("the password is printed".into());
    }
    std::fs::remove_file(place.path("tmp/told"))?;
    let found = Command::new("grep")
        .args([
            "--recursive",
            "--files-with-matches",
            "--fixed-strings",
            "--exclude-dir=logs",
            password,
            "reports",
            "tmp",
        ])
        .current_dir(place.path(""))
        .output()?;
    match found.status.code() {
        Some(1) => Ok(()),
        _ => Err(format!("the password stands in {}", all(&found)).into()),
    }
}

pub fn what_a_command_reads_is_of_the_release_where_the_suite_says_so() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let suite = "[release]\ncommand = [\"./migrate.sh\"]\nfiles = \"migrations\"\n[gate]\ncommit = \"any\"\n";
    let place = place(suite, &[("1.txt", "one")]);
    place.write("migrate.sh", "#!/bin/sh\nexec cat migrations/1.txt\n");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path("migrate.sh"), mode)?;
    exits(&gate(&place, &["--run", "--services", "local"]), 0)?;
    place.write("migrations/1.txt", "another");
    let output = gate(&place, &[]);
    exits(&output, 5)?;
    says(&output, &["other-release"])
}

pub fn a_release_with_mistakes_starts_nothing() -> Outcome {
    let place = Place::new();
    place.write(
        "shop.toml",
        &format!(
            "{SUITE}[release]\nmigrations = \"nowhere\"\ncommnd = [\"x\"]\nfiles = \"none\"\n"
        ),
    );
    let output = gate(&place, &["--run", "--services", "local"]);
    exits(&output, 2)?;
    says(
        &output,
        &[
            "no such folder: `nowhere`",
            "no such file or folder: `none`",
            "`commnd`",
            "`command`",
        ],
    )
}
