//! The user's own application on the restored copy: one that answers, and each way in which one does not. It is a few lines of
//! Python's standard library, and reaches what was restored by its environment alone: a database through `psql`, Redis by its
//! protocol, a bucket by a request that it signs itself.

use std::process::Output;

use libtest_mimic::Failed;

use super::lab::Lab;
use super::runs::{failed_by, last, plainly};
use crate::place::{Outcome, Place, all, exits, says};

/// `FAULT` is what is wrong with it. What it prints of its environment must not be told.
const APPLICATION: &str = r#"
import hashlib, hmac, http.server, os, socket, subprocess, sys, time, urllib.parse, urllib.request
fault = sys.argv[1] if len(sys.argv) > 1 else ""
env = os.environ
for name in ("DATABASE_URL", "PGPASSWORD", "REDIS_URL", "AWS_SECRET_ACCESS_KEY"):
    if name in env:
        print("connects as", env[name], flush=True)
def database():
    asked = subprocess.run(["psql", "-XAtc", "select count(*) from public.orders"], capture_output=True, text=True)
    return (200, asked.stdout) if asked.returncode == 0 else (500, asked.stderr)
def cache():
    at = urllib.parse.urlsplit(env["REDIS_URL"])
    with socket.create_connection((at.hostname, at.port)) as talk:
        if at.password:
            talk.sendall(f"AUTH {at.password}\r\n".encode())
            assert talk.recv(99).startswith(b"+OK")
        talk.sendall(b"DBSIZE\r\n")
        return 200, talk.recv(99).decode().strip(":\r\n")
def bucket():
    url = urllib.parse.urlsplit(env["AWS_ENDPOINT_URL"])
    path, query, scope = "/" + env["S3_BUCKET"], "list-type=2", [time.strftime("%Y%m%d", time.gmtime()), env["AWS_REGION"], "s3", "aws4_request"]
    headers = {"host": url.netloc, "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(), "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())}
    request = "\n".join(["GET", path, query] + [f"{k}:{v}" for k, v in headers.items()] + ["", ";".join(headers), headers["x-amz-content-sha256"]])
    key = ("AWS4" + env["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    signed = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], "/".join(scope), hashlib.sha256(request.encode()).hexdigest()])
    headers["authorization"] = "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        env["AWS_ACCESS_KEY_ID"], "/".join(scope), ";".join(headers), hmac.digest(key, signed.encode(), "sha256").hex())
    with urllib.request.urlopen(urllib.request.Request(f"{url.geturl()}{path}?{query}", headers=headers)) as answer:
        return 200, str(answer.read().count(b"<Key>www/"))
if fault == "dies":
    sys.exit("no licence for this machine")
# A helper, which ends with it or not.
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(4242)", sys.argv[0]])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = 404, "nothing here"
        if self.path == "/health":
            status, body = (503, "starting") if fault == "never-ready" else (200, "ok")
        if self.path == "/orders/count":
            status, body = database()
        if self.path == "/keys/count":
            status, body = cache()
        if self.path == "/pages/count":
            status, body = bucket()
        if self.path == "/orders/count":
            if fault == "fails":
                status, body = 500, "broken: " + os.environ["PGPASSWORD"]
            if fault == "crashes":
                os._exit(3)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

const REQUESTS: &str = "
[[smoke]]
name = \"the orders are counted\"
get = \"/orders/count\"
expect = 1000
[[smoke]]
get = \"/no-such-page\"
status = 404
expect = { contains = \"nothing\" }
";

/// A name that no other place's application has: its processes show it.
fn name_in(place: &Place) -> String {
    let folder = place.path("");
    let folder = folder.components().next_back();
    let name = folder.map(|it| it.as_os_str().to_string_lossy().into_owned());
    format!("app-{}.py", name.unwrap_or_default())
}

/// Verifies the shop's dump with the application; nothing of it is left running.
fn with(place: &Place, fault: &str, deadline: &str, requests: &str) -> Result<Output, Failed> {
    on(place, "shop.dump", fault, deadline, requests)
}

/// Verifies a backup with the application; nothing of it is left running.
fn on(
    place: &Place,
    backup: &str,
    fault: &str,
    deadline: &str,
    requests: &str,
) -> Result<Output, Failed> {
    let name = name_in(place);
    place.write(&name, APPLICATION);
    place.write(
        "shop.toml",
        &format!(
            "app = {{ command = [\"python3\", \"{name}\", \"{fault}\"], ready = \"/health\", deadline = \"{deadline}\" }}\n{requests}"
        ),
    );
    let roles = (backup == "shop.dump").then_some("--create-roles");
    let arguments: Vec<&str> = roles.into_iter().chain(["--ask", "shop.toml"]).collect();
    let output = plainly(place, &Lab::get()?.path(backup), &arguments)?;
    let left = std::process::Command::new("ps")
        .args(["-eo", "pid,args"])
        .output()?;
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    let mine = |line: &&str| line.contains(&name);
    let left: Vec<&str> = left.lines().filter(mine).collect();
    match left.is_empty() {
        true => Ok(output),
        false => Err(format!("left running: {left:?}\n{}", all(&output)).into()),
    }
}

pub fn an_application_that_answers_is_a_proof_and_its_log_names_no_secret() -> Outcome {
    let place = Place::new();
    let output = with(&place, "well", "30s", REQUESTS)?;
    exits(&output, 0)?;
    let mut logs = String::new();
    let folder = place.run()?.join("logs");
    for entry in walk(&folder)? {
        if entry.to_string_lossy().ends_with("-application.log") {
            logs += &std::fs::read_to_string(entry)?;
        }
    }
    let told = logs.contains("connects as postgresql://") && logs.contains("<");
    match told {
        true => Ok(()),
        false => Err(format!("its log is {logs:?}\n{}", all(&output)).into()),
    }
}

fn walk(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>, Failed> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder)?.flatten() {
        match entry.path().is_dir() {
            true => all.extend(walk(&entry.path())?),
            false => all.push(entry.path()),
        }
    }
    Ok(all)
}

pub fn an_application_that_answers_500_fails_and_its_answer_names_no_secret() -> Outcome {
    let place = Place::new();
    let output = with(&place, "fails", "30s", REQUESTS)?;
    failed_by(&place, &output, "smoke")?;
    says(
        &output,
        &["the orders are counted", "status 500: broken: <"],
    )?;
    match last(&place)?.to_string().contains("<password") || all(&output).contains('<') {
        true => Ok(()),
        false => Err("the secret was not taken out".into()),
    }
}

pub fn another_body_than_the_expected_one_fails() -> Outcome {
    let place = Place::new();
    let wrong = REQUESTS.replace("1000", "{ min = 2000 }");
    let output = with(&place, "well", "30s", &wrong)?;
    failed_by(&place, &output, "smoke")?;
    says(&output, &["answered `1000`", "at least 2000"])
}

pub fn an_application_that_is_never_ready_fails_when_its_time_is_up() -> Outcome {
    let place = Place::new();
    let output = with(&place, "never-ready", "3s", REQUESTS)?;
    failed_by(&place, &output, "smoke")?;
    says(
        &output,
        &[
            "the application was not ready within 3s",
            "answered with status 503",
        ],
    )
}

pub fn an_application_that_dies_says_its_last_words() -> Outcome {
    let place = Place::new();
    let output = with(&place, "dies", "30s", REQUESTS)?;
    failed_by(&place, &output, "smoke")?;
    says(
        &output,
        &["ended before it was ready", "no licence for this machine"],
    )?;
    let place = Place::new();
    let output = with(&place, "crashes", "30s", REQUESTS)?;
    failed_by(&place, &output, "smoke")?;
    says(
        &output,
        &["the orders are counted", "has ended (exit status: 3)"],
    )
}

pub fn an_application_asks_a_restored_redis_and_a_restored_bucket() -> Outcome {
    for (backup, path, count) in [
        ("dump.rdb", "/keys/count", 300),
        ("www.tar.gz", "/pages/count", 21),
    ] {
        for (expected, exit) in [(count, 0), (count + 1, 1)] {
            let place = Place::new();
            let requests = format!("[[smoke]]\nget = \"{path}\"\nexpect = {expected}\n");
            let output = on(&place, backup, "well", "30s", &requests)?;
            exits(&output, exit)?;
            if exit == 1 {
                failed_by(&place, &output, "smoke")?;
                says(&output, &[&format!("answered `{count}`")])?;
            }
        }
    }
    Ok(())
}

pub fn what_cannot_be_started_or_asked_is_told() -> Outcome {
    let place = Place::new();
    place.write(
        "none.toml",
        "app = { command = [\"./no-such-server\"], ready = \"/health\" }\n[[smoke]]\nget = \"/health\"\n",
    );
    let dump = Lab::get()?.path("shop.dump");
    let output = plainly(&place, &dump, &["--create-roles", "--ask", "none.toml"])?;
    failed_by(&place, &output, "smoke")?;
    says(&output, &["the application cannot be started"])?;
    place.write("alone.toml", "[[smoke]]\nget = \"/health\"\n");
    let output = plainly(&place, &dump, &["--create-roles", "--ask", "alone.toml"])?;
    exits(&output, 2)?;
    says(
        &output,
        &[
            "alone.toml:2:1",
            "there is no application to get anything from",
        ],
    )
}

/// A suite whose component has an application that counts seven.
fn counting(place: &Place) -> &'static str {
    place.write(
        "app.py",
        &APPLICATION.replace("public.orders", "public.items"),
    );
    place.write(
        "items.sql",
        "create table public.items as select generate_series(1, 7) i;\n",
    );
    place.write("shop.toml", SUITE);
    SUITE
}

const SUITE: &str = r#"
[component.db]
kind = "postgres"
seed = "items.sql"
app = { command = ["python3", "app.py"], ready = "/health" }
[[component.db.smoke]]
get = "/orders/count"
expect = 7
[backup.hourly]
schedule = "0 * * * *"
[scenario.lost]
strike = { fault = "server-lost" }
at = "58m after hourly"
rpo = "1h"
rto = "15m"
"#;

pub fn a_drill_asks_the_application_of_its_component_and_the_runbook_says_how() -> Outcome {
    let place = Place::new();
    let suite = counting(&place);
    let output = place.redrill(&["drill", "shop.toml", "--services", "local"]);
    exits(&output, 0)?;
    let runbook = place.redrill(&["runbook", "shop.toml"]);
    exits(&runbook, 0)?;
    says(
        &runbook,
        &["python3 app.py", "/health", "/orders/count", "7"],
    )?;
    place.write("shop.toml", &suite.replace("expect = 7", "expect = 8"));
    let output = place.redrill(&["drill", "shop.toml", "--services", "local"]);
    exits(&output, 1)?;
    says(&output, &["answered `7`"])
}

pub fn a_release_that_breaks_the_application_closes_the_gate() -> Outcome {
    let place = Place::new();
    let suite = counting(&place);
    let release = format!("{suite}[release]\nmigrations = \"migrations\"\n");
    place.write("shop.toml", &release);
    std::fs::create_dir(place.path("migrations"))?;
    let gate = |migration: &str| {
        place.write("migrations/001.sql", migration);
        place.commit("a release");
        place.redrill(&["gate", "shop.toml", "--run", "--services", "local"])
    };
    exits(&gate("create table public.more (i int);\n"), 0)?;
    let output = gate("delete from public.items where i > 5;\n");
    exits(&output, 5)?;
    says(&output, &["release-failed", "answered `5`"])
}
