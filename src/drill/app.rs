//! The user's own application on the restored copy: started once everything is back, asked over HTTP as a runbook ends, and
//! stopped again with its whole process group before anything else happens to the copy.
//!
//! How it reaches the service is in its environment, and there alone; what it prints goes to the run's logs without the
//! secrets in it. Not here: what is asked (see [`crate::suite::app`]), or the judgement ([`crate::check`]).

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::Stopwatch;
use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result};
use crate::evidence::SmokeFact;
use crate::http::{self, Answer};
use crate::process::{Command, Daemon};
use crate::provision::port::HeldPort;
use crate::provision::ready;
use crate::service::Service;
use crate::suite::app::{App, Request};
use crate::suite::{Component, ComponentKind, Engine};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to say that it is ready, before it is asked again.
const GLANCE: Duration = Duration::from_secs(5);
/// How long it may take to end once it has stopped to answer, so that its end is told and not the broken connection.
const LAST_BREATH: Duration = Duration::from_millis(500);
/// How long it is given to end.
const GRACE: Duration = Duration::from_secs(5);
/// How much of a body is told.
const TOLD: usize = 200;

/// Asks everything that a component is asked: the service itself, then the application on it.
pub(super) async fn questions(
    ctx: &Context,
    component: &Component,
    service: &dyn Service,
) -> Result<Vec<SmokeFact>> {
    let mut facts = service.smoke(ctx, &component.smoke).await?;
    if let Some(app) = &component.app {
        facts.extend(ask(ctx, app, component, service).await?);
    }
    Ok(facts)
}

/// Starts the application, asks it, and stops it.
async fn ask(
    ctx: &Context,
    app: &App,
    component: &Component,
    service: &dyn Service,
) -> Result<Vec<SmokeFact>> {
    let unanswered = |words: String| {
        let all = app.requests.iter();
        all.map(|request| fact(request, Err(words.clone())))
            .collect()
    };
    let watch = Stopwatch::start();
    let port = HeldPort::take()?;
    let command = command(app, component, service, port.number())?;
    let shown = command.shown();
    // What it prints may name its password: its own words stay in the drill's directory, which goes with the drill.
    let mut within = ctx.clone();
    within.logs = ctx.subdir("app")?;
    let mut daemon = match command.daemon(&within) {
        Ok(daemon) => daemon,
        Err(error) if error.kind() == Kind::Defect => return Err(error),
        Err(error) => {
            let words = format!("the application cannot be started: {}", error.message());
            ctx.note(shown, None, watch.seconds(), Path::new(""));
            return Ok(unanswered(words));
        }
    };
    let base = format!("http://127.0.0.1:{}", port.number());
    let asked = talk(ctx, app, &base, &mut daemon).await;
    let ended = daemon.ended();
    daemon.stop_group(GRACE).await;
    let log = publish(ctx, &daemon)?;
    let exit = ended.is_none().then_some(0);
    ctx.note(shown, exit, watch.seconds(), &log);
    match asked {
        Ok(facts) => Ok(facts),
        Err(error) if matches!(error.kind(), Kind::Interrupted | Kind::Defect) => Err(error),
        Err(error) => Ok(unanswered(ctx.secrets.hide(&error.message()))),
    }
}

/// Waits until it is ready, and asks every question.
async fn talk(ctx: &Context, app: &App, base: &str, daemon: &mut Daemon) -> Result<Vec<SmokeFact>> {
    let ready = format!("{base}{}", app.ready);
    {
        let daemon = Mutex::new(&mut *daemon);
        let gone = || {
            let daemon = daemon.lock();
            std::future::ready(daemon.ok().and_then(|mut daemon| daemon.end_in_words()))
        };
        let what = "the application";
        ready::until(ctx, what, app.deadline, gone, || async {
            let answer = get(&ready, GLANCE.min(app.deadline)).await?;
            match (200..300).contains(&answer.status) {
                true => Ok(()),
                false => Err(Error::failed(format!(
                    "{} is answered with status {}",
                    app.ready, answer.status
                ))),
            }
        })
        .await?;
    }
    let mut facts = Vec::with_capacity(app.requests.len());
    for request in &app.requests {
        ctx.go_on()?;
        let url = format!("{base}{}", request.path);
        let answer = tokio::select! {
            () = ctx.cancel.cancelled() => return Err(Error::interrupted()),
            answer = get(&url, PATIENCE) => answer,
        };
        let answer = match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(match daemon.ends_within(LAST_BREATH).await {
                Some(how) => format!("the application has ended ({how}): {}", daemon.last_words()),
                None => error.message(),
            }),
        };
        // Whether it is the expected body is asked of what it really was.
        let mut fact = fact(request, answer);
        fact.answer = match fact.answer {
            Ok(body) => Ok(beginning(&ctx.secrets.hide(&body))),
            Err(words) => Err(beginning(&ctx.secrets.hide(&words))),
        };
        facts.push(fact);
    }
    Ok(facts)
}

async fn get(url: &str, left: Duration) -> Result<Answer> {
    let url = url.to_owned();
    let work = tokio::task::spawn_blocking(move || http::get(&url, left));
    work.await.doing("wait for an answer")?
}

/// A question to the application with its answer. A status that is not the wanted one is no answer.
fn fact(request: &Request, answer: Result<Answer, String>) -> SmokeFact {
    let answer = answer.and_then(|answer| match request.is_met_by(answer.status) {
        true => Ok(answer.body.trim().to_owned()),
        false => Err(format!("status {}: {}", answer.status, answer.body.trim())),
    });
    let holds = |body: &String| {
        request
            .expect
            .as_ref()
            .is_none_or(|expect| expect.holds(body))
    };
    SmokeFact {
        name: request.name.clone(),
        expected: request.expected(),
        holds: answer.as_ref().is_ok_and(holds),
        answer,
        void: None,
    }
}

fn beginning(text: &str) -> String {
    match text.char_indices().nth(TOLD) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The command as it is run on the machine that drills. A path is one from the folder of the file that names it.
fn command(app: &App, component: &Component, service: &dyn Service, port: u16) -> Result<Command> {
    let (program, arguments) = app
        .command
        .split_first()
        .ok_or_else(|| Error::defect("the command of the application is empty"))?;
    let program = match program.contains('/') {
        true => app.home.join(program),
        false => PathBuf::from(program),
    };
    let command = Command::new(program)
        .args(arguments.iter().cloned())
        .dir(&app.home)
        .env("PORT", port.to_string());
    let bucket = match &component.kind {
        ComponentKind::Bucket { bucket, .. } => Some(bucket.as_str()),
        _ => None,
    };
    let reach = reach(service, bucket).into_iter();
    Ok(reach.fold(command, |command, (name, value)| command.env(name, value)))
}

/// How a program of the user's own reaches a service: the variables that such programs usually go by.
pub(super) fn reach(service: &dyn Service, bucket: Option<&str>) -> Vec<(&'static str, String)> {
    let server = service.server();
    let at = server.endpoint();
    let (host, port) = (at.host, at.port.to_string());
    match server.engine() {
        Engine::Postgres => {
            let database = service.database().to_owned();
            let url = format!(
                "postgresql://{}:{}@{host}:{port}/{database}",
                at.user, at.password
            );
            vec![
                ("DATABASE_URL", url),
                ("PGHOST", host),
                ("PGPORT", port),
                ("PGUSER", at.user),
                ("PGPASSWORD", at.password),
                ("PGDATABASE", database),
            ]
        }
        Engine::Redis => {
            let url = match at.password.as_str() {
                "" => format!("redis://{host}:{port}/0"),
                password => format!("redis://:{password}@{host}:{port}/0"),
            };
            vec![("REDIS_URL", url)]
        }
        Engine::Bucket => {
            let mut all = vec![
                ("AWS_ENDPOINT_URL", format!("http://{host}:{port}")),
                ("AWS_ACCESS_KEY_ID", at.user),
                ("AWS_SECRET_ACCESS_KEY", at.password),
                ("AWS_REGION", "us-east-1".to_owned()),
            ];
            all.extend(bucket.map(|bucket| ("S3_BUCKET", bucket.to_owned())));
            all
        }
    }
}

/// Writes what it printed into the run's logs, without the secrets of the run.
fn publish(ctx: &Context, daemon: &Daemon) -> Result<PathBuf> {
    let said = std::fs::read(daemon.log()).doing("read what the application said")?;
    let log = ctx
        .logs
        .join(format!("{:04}-application.log", ctx.next_number()));
    let text = ctx.secrets.hide(&String::from_utf8_lossy(&said));
    std::fs::write(&log, text).doing_with(|| format!("write {}", log.display()))?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Expect;

    fn request(status: Option<u16>, expect: Option<Expect>) -> Request {
        Request {
            name: "GET /x".to_owned(),
            path: "/x".to_owned(),
            status,
            expect,
        }
    }

    fn holds(request: &Request, status: u16, body: &str) -> bool {
        let body = body.to_owned();
        fact(request, Ok(Answer { status, body })).holds
    }

    #[test]
    fn a_status_and_a_body_must_both_be_the_expected_ones() {
        let any = request(None, None);
        assert!(holds(&any, 204, "") && !holds(&any, 302, "") && !holds(&any, 500, ""));
        let none = request(Some(404), None);
        assert!(holds(&none, 404, "no") && !holds(&none, 200, "no"));
        let counted = request(None, Some(Expect::AtLeast(3.0)));
        assert!(holds(&counted, 200, " 3\n") && !holds(&counted, 200, "2"));
        assert!(!holds(&counted, 500, "3"));
    }
}
