//! Services in containers, through testcontainers. Tools run inside the service's container through the engine's
//! command line, with standard input and output streamed, so that they are of the server's own version.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::RwLock;
use std::time::Duration;

use async_trait::async_trait;
use testcontainers_modules::postgres::Postgres;
use testcontainers_modules::redis::Redis;
use testcontainers_modules::testcontainers::core::ContainerPort;
use testcontainers_modules::testcontainers::runners::AsyncRunner;
use testcontainers_modules::testcontainers::{
    ContainerAsync, ContainerRequest, CopyTargetOptions, GenericImage, Image, ImageExt,
    TestcontainersError,
};
use tokio::sync::Mutex;

use super::{Provisioner, REDIS_SETTINGS, Wanted, fresh_secret, ready};
use crate::clock::Stopwatch;
use crate::context::Context;
use crate::error::{Doing, Error, Kind, Result, chain};
use crate::process::Command;
use crate::provision::reap::Owner;
use crate::service::{Endpoint, Running, Stop, postgres, redis, s3};
use crate::suite::Engine;

mod images;

use images::S3Flavour;
pub use images::{Available, available_image, here, present};

/// The label that carries the run id, for `redrill reap`.
pub const RUN_LABEL: &str = "redrill.run";
/// The label that carries the [`Owner`] of the container.
pub const OWNER_LABEL: &str = "redrill.owner";
/// How long a container may take to be ready: some start a whole system of servers, and all of them a new machine's.
const STARTUP: Duration = Duration::from_secs(120);
/// How often to look whether a container that does not answer still runs.
const LOOK: Duration = Duration::from_millis(500);
/// How long the engine may take to tell what a container printed.
const PATIENCE: Duration = Duration::from_secs(10);
const ACCESS_KEY: &str = "redrill";
const POSTGRES_DATA: &str = "/var/lib/postgresql/data/cluster";
/// Swaps directories under a running server, which keeps to the one that it was started on until it is killed.
const SWAP: &str = r#"mv -- "$1" "$1.replaced" && mv -- "$2" "$1""#;

/// Starts services as containers.
#[derive(Debug, Default)]
pub struct Containers;

#[async_trait]
impl Provisioner for Containers {
    fn mode(&self) -> &'static str {
        "containers"
    }

    async fn start(&self, ctx: &Context, wanted: &Wanted) -> Result<Arc<dyn Running>> {
        let image = available_image(ctx, wanted.engine, wanted.version.as_deref())
            .await?
            .image;
        let started = match wanted.engine {
            Engine::Postgres => start_postgres(ctx, wanted, &image).await,
            Engine::Redis => start_redis(ctx, wanted, &image).await,
            Engine::Bucket => start_s3(ctx, wanted, &image).await,
        };
        started.doing_with(|| format!("start a container of {image} for {}", wanted.name))
    }
}

/// Whether a container engine answers; the error says what it said.
pub async fn engine_answers(ctx: &Context) -> Result<()> {
    let asked = Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .deadline(Duration::from_secs(10))
        .run(ctx)
        .await;
    let hint = "start it (`systemctl start docker`), or use --services local";
    match asked.and_then(crate::process::Finished::ok) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::unavailable(error.message())
            .hint(hint)
            .doing("reach the container engine")),
    }
}

async fn start_postgres(ctx: &Context, wanted: &Wanted, image: &str) -> Result<Arc<dyn Running>> {
    let (name, tag) = images::split(image);
    let password = fresh_secret(ctx, &format!("password of {}", wanted.name));
    let settings = wanted
        .server_settings()
        .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
    let mut initdb = vec!["--data-checksums --encoding=UTF8 --locale=C.UTF-8".to_owned()];
    initdb.extend(wanted.initdb());
    let request = Postgres::default()
        .with_fsync_enabled()
        .with_user("postgres")
        .with_password(&password)
        .with_name(name)
        .with_tag(tag)
        .with_env_var("PGDATA", POSTGRES_DATA)
        .with_env_var("POSTGRES_INITDB_ARGS", initdb.join(" "))
        .with_cmd(
            ["postgres", "-c", "fsync=on"]
                .into_iter()
                .map(str::to_owned)
                .chain(settings),
        );
    let inside = Inside {
        engine: Engine::Postgres,
        port: 5432,
        user: "postgres",
        // Below the volume, so that what lies beside the data is on the same file system.
        data: POSTGRES_DATA,
        login: "postgres".to_owned(),
        password,
    };
    launch(ctx, request, inside).await
}

async fn start_redis(ctx: &Context, wanted: &Wanted, image: &str) -> Result<Arc<dyn Running>> {
    let (name, tag) = images::split(image);
    let password = fresh_secret(ctx, &format!("password of {}", wanted.name));
    let mut config = format!("requirepass {password}\ndir /data\n");
    let own = REDIS_SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in own.iter().map(|(n, v)| (n, v)).chain(&wanted.settings) {
        config += &format!("{name} {value}\n");
    }
    // A file, because arguments can be read by everyone on the host.
    let path = "/data/redis.conf";
    let request = Redis::default()
        .with_name(name)
        .with_tag(tag)
        .with_copy_to(
            CopyTargetOptions::new(path).with_mode(0o666),
            config.into_bytes(),
        )
        .with_cmd(["redis-server", path]);
    let inside = Inside {
        engine: Engine::Redis,
        port: 6379,
        user: "redis",
        data: "/data",
        login: String::new(),
        password,
    };
    launch(ctx, request, inside).await
}

async fn start_s3(ctx: &Context, wanted: &Wanted, image: &str) -> Result<Arc<dyn Running>> {
    let secret = fresh_secret(ctx, &format!("secret key of {}", wanted.name));
    let (request, port) = s3_request(image, &secret)?;
    let inside = Inside {
        engine: Engine::Bucket,
        port,
        user: "root",
        data: "/data",
        login: ACCESS_KEY.to_owned(),
        password: secret,
    };
    launch(ctx, request, inside).await
}

/// What an S3 server of each kind is started with, and the port it answers on.
fn s3_request(image: &str, secret: &str) -> Result<(ContainerRequest<GenericImage>, u16)> {
    let (name, tag) = images::split(image);
    let flavour = S3Flavour::of(image)?;
    let port = match flavour {
        S3Flavour::Rgw => 8000,
        S3Flavour::Minio | S3Flavour::RustFs => 9000,
        S3Flavour::SeaweedFs => 8333,
    };
    let generic = GenericImage::new(name, tag).with_exposed_port(ContainerPort::Tcp(port));
    let request = match flavour {
        S3Flavour::Rgw => generic
            .with_env_var("RGW_ACCESS_KEY", ACCESS_KEY)
            .with_env_var("RGW_SECRET_KEY", secret)
            .with_env_var(
                "RGW_READY",
                ready::deadline_or(STARTUP).as_secs().to_string(),
            ),
        S3Flavour::Minio => generic
            .with_env_var("MINIO_ROOT_USER", ACCESS_KEY)
            .with_env_var("MINIO_ROOT_PASSWORD", secret)
            .with_cmd(["server", "/data"]),
        S3Flavour::RustFs => generic
            .with_env_var("RUSTFS_ACCESS_KEY", ACCESS_KEY)
            .with_env_var("RUSTFS_SECRET_KEY", secret),
        S3Flavour::SeaweedFs => generic
            .with_env_var("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .with_env_var("AWS_SECRET_ACCESS_KEY", secret)
            .with_cmd(["server", "-s3"]),
    };
    Ok((request, port))
}

/// What redrill knows of the inside of a container.
#[derive(Clone)]
struct Inside {
    engine: Engine,
    port: u16,
    user: &'static str,
    data: &'static str,
    login: String,
    password: String,
}

struct Contained<I: Image> {
    inside: Inside,
    id: String,
    version: String,
    host: String,
    /// The engine publishes another host port after every start.
    port: RwLock<u16>,
    container: Mutex<Option<ContainerAsync<I>>>,
}

async fn launch<I: Image + 'static>(
    ctx: &Context,
    request: impl Into<ContainerRequest<I>>,
    inside: Inside,
) -> Result<Arc<dyn Running>> {
    let starting = request
        .into()
        // Whether it is ready is asked of the server itself.
        .with_ready_conditions(Vec::new())
        .with_startup_timeout(STARTUP)
        .with_label(RUN_LABEL, ctx.run.as_str())
        .with_label(OWNER_LABEL, Owner::this().to_string())
        .start();
    let container = tokio::select! {
        container = starting => container.map_err(|error| trouble(&error))?,
        () = ctx.cancel.cancelled() => return Err(Error::interrupted()),
    };
    let host = container
        .get_host()
        .await
        .map_err(|error| trouble(&error))?
        .to_string();
    // Ports are published for IPv4 and IPv6 apart, and need not be the same: the name could lead to the other one's.
    let host = if host == "localhost" {
        "127.0.0.1".to_owned()
    } else {
        host
    };
    let mut server = Contained {
        id: container.id().to_owned(),
        inside,
        version: String::new(),
        host,
        port: RwLock::new(0),
        container: Mutex::new(Some(container)),
    };
    server.wait(ctx).await?;
    server.version = server.ask_version(ctx).await?;
    if server.inside.engine != Engine::Bucket {
        let staging = server.staging();
        server
            .tool("mkdir")
            .arg("-p")
            .arg(staging)
            .run(ctx)
            .await?
            .ok()?;
    }
    Ok(Arc::new(server))
}

fn trouble(error: &TestcontainersError) -> Error {
    Error::failed(chain(error))
        .hint("`docker ps -a` and `docker logs` show what the container said")
}

impl<I: Image + 'static> Contained<I> {
    /// Finds the published port and waits for a real answer.
    async fn wait(&self, ctx: &Context) -> Result<()> {
        let what = self.inside.engine.id();
        let port = match self.published().await? {
            Some(port) => port,
            // One that has ended publishes none.
            None => return Err(ready::ended(what, &self.last_words(ctx).await)),
        };
        *self
            .port
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = port;
        let endpoint = self.endpoint();
        let mut looked = Stopwatch::start();
        let gone = || {
            let due = looked.elapsed() >= LOOK;
            if due {
                looked = Stopwatch::start();
            }
            async move {
                match due && !self.is_running().await {
                    true => Some(self.last_words(ctx).await),
                    false => None,
                }
            }
        };
        let ready = ready::until(ctx, what, ready::deadline_or(STARTUP), gone, || async {
            match self.inside.engine {
                Engine::Postgres => postgres::answers(ctx, &endpoint).await,
                Engine::Redis => redis::answers(ctx, &endpoint).await,
                Engine::Bucket => s3::answers(ctx, &endpoint).await,
            }
        });
        match ready.await {
            Err(error) if error.kind() == Kind::TimedOut => {
                let said = self.last_words(ctx).await;
                Err(error.doing(format!("its container says\n{said}\n")))
            }
            ready => ready,
        }
    }

    /// The port of this machine that leads to the server's; `None` when the container does not run.
    async fn published(&self) -> Result<Option<u16>> {
        let container = self.container.lock().await;
        let container = container
            .as_ref()
            .ok_or_else(|| Error::failed("the container is gone"))?;
        match container.get_host_port_ipv4(self.inside.port).await {
            Ok(port) => Ok(Some(port)),
            Err(_) if !container.is_running().await.unwrap_or(true) => Ok(None),
            Err(error) => Err(trouble(&error)),
        }
    }

    async fn is_running(&self) -> bool {
        match &*self.container.lock().await {
            Some(container) => container.is_running().await.unwrap_or(true),
            None => false,
        }
    }

    /// The last lines that its container printed, without the secrets of the run.
    async fn last_words(&self, ctx: &Context) -> String {
        let asked = Command::new("docker")
            .args(["logs", "--tail", "12", &self.id])
            .deadline(PATIENCE)
            .run(ctx)
            .await;
        match asked {
            Ok(said) => ctx.secrets.hide(&format!("{}{}", said.text(), said.stderr)),
            Err(error) => error.message(),
        }
    }

    async fn ask_version(&self, ctx: &Context) -> Result<String> {
        let command = match self.inside.engine {
            Engine::Postgres => self.tool("postgres").arg("--version"),
            Engine::Redis => self.tool("redis-server").arg("--version"),
            Engine::Bucket => return Ok(images::split(&self.image_name().await).1.to_owned()),
        };
        let text = command.run(ctx).await?.ok()?.text();
        let word = |n: usize| text.split_whitespace().nth(n).unwrap_or_default();
        Ok(match self.inside.engine {
            Engine::Postgres => word(2).to_owned(),
            _ => word(2).trim_start_matches("v=").to_owned(),
        })
    }

    async fn image_name(&self) -> String {
        let container = self.container.lock().await;
        container
            .as_ref()
            .map(|c| format!("{}:{}", c.image().name(), c.image().tag()))
            .unwrap_or_default()
    }

    async fn docker(&self, ctx: &Context, verb: &str) -> Result<()> {
        Command::new("docker")
            .args([verb, &self.id])
            .run(ctx)
            .await?
            .ok()
            .map(drop)
    }
}

#[async_trait]
impl<I: Image + 'static> Running for Contained<I> {
    fn engine(&self) -> Engine {
        self.inside.engine
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn mode(&self) -> &'static str {
        "containers"
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: self.host.clone(),
            port: *self
                .port
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
            user: self.inside.login.clone(),
            password: self.inside.password.clone(),
        }
    }

    fn tool(&self, program: &str) -> Command {
        // `-e NAME` without a value hands on the variable of the engine's command line: no secret in arguments.
        let secret = match self.inside.engine {
            Engine::Postgres => "PGPASSWORD",
            Engine::Redis => "REDISCLI_AUTH",
            Engine::Bucket => "AWS_SECRET_ACCESS_KEY",
        };
        let wrapper = ["exec", "-i", "-u", self.inside.user, "-e", secret]
            .into_iter()
            .chain([
                "-e",
                "PGHOST=127.0.0.1",
                "-e",
                "PGUSER=postgres",
                "-e",
                "LC_ALL=C.UTF-8",
            ])
            .chain([self.id.as_str()]);
        Command::wrapped("docker", wrapper, program).env(secret, &self.inside.password)
    }

    fn data_dir(&self) -> PathBuf {
        PathBuf::from(self.inside.data)
    }

    fn staging(&self) -> PathBuf {
        PathBuf::from("/tmp/redrill")
    }

    async fn restart(&self, ctx: &Context, stop: Stop) -> Result<()> {
        let ended = self.docker(ctx, if stop == Stop::Clean { "stop" } else { "kill" });
        // The engine does not kill a container that has ended, which is what is wanted of it.
        if let (Err(error), Stop::Clean) = (ended.await, stop) {
            return Err(error);
        }
        self.docker(ctx, "start").await?;
        self.wait(ctx).await
    }

    async fn halt(&self, ctx: &Context) -> Result<()> {
        self.docker(ctx, "kill").await
    }

    async fn replace_data(&self, ctx: &Context, prepared: &Path) -> Result<()> {
        let data = self.data_dir();
        let swap = self.tool("sh").args(["-c", SWAP, "sh"]);
        swap.arg(&data).arg(prepared).run(ctx).await?.ok()?;
        self.restart(ctx, Stop::Kill).await?;
        let remove = self.tool("rm").arg("-rf");
        let replaced = data.with_extension("replaced");
        remove.arg(replaced).run(ctx).await?.ok().map(drop)
    }

    async fn lose(&self, ctx: &Context) -> Result<()> {
        self.docker(ctx, "kill").await?;
        self.remove(ctx).await
    }

    async fn remove(&self, _ctx: &Context) -> Result<()> {
        match self.container.lock().await.take() {
            Some(container) => container.rm().await.map_err(|error| trouble(&error)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_s3_server_is_started_with_its_own_variables_command_and_port_and_no_secret_in_the_command()
     {
        type Case<'a> = (&'a str, u16, &'a [&'a str], &'a [(&'a str, &'a str)]);
        let cases: [Case<'_>; 4] = [
            (
                "quay.io/minio/minio:RELEASE.1",
                9000,
                &["server", "/data"],
                &[
                    ("MINIO_ROOT_USER", ACCESS_KEY),
                    ("MINIO_ROOT_PASSWORD", "s3cret"),
                ],
            ),
            (
                "rustfs/rustfs:1.0",
                9000,
                &[],
                &[
                    ("RUSTFS_ACCESS_KEY", ACCESS_KEY),
                    ("RUSTFS_SECRET_KEY", "s3cret"),
                ],
            ),
            (
                "registry:5000/chrislusf/seaweedfs:3",
                8333,
                &["server", "-s3"],
                &[
                    ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
                    ("AWS_SECRET_ACCESS_KEY", "s3cret"),
                ],
            ),
            (
                "redrill/rgw:16",
                8000,
                &[],
                &[("RGW_ACCESS_KEY", ACCESS_KEY), ("RGW_SECRET_KEY", "s3cret")],
            ),
        ];
        for (image, port, command, variables) in cases {
            let (request, found) = s3_request(image, "s3cret").expect("a request");
            assert_eq!(found, port, "{image}");
            assert_eq!(request.descriptor(), image);
            assert_eq!(
                request.expose_ports(),
                [ContainerPort::Tcp(port)],
                "{image}"
            );
            let words: Vec<String> = request.cmd().map(|word| word.into_owned()).collect();
            assert_eq!(words, command, "{image}");
            let set: Vec<(String, String)> = request
                .env_vars()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .filter(|(name, _)| name != "RGW_READY")
                .collect();
            let mut set: Vec<(&str, &str)> = set
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            set.sort_unstable();
            let mut wanted = variables.to_vec();
            wanted.sort_unstable();
            assert_eq!(set, wanted, "{image}");
        }
        assert!(s3_request("nginx:1", "s3cret").is_err());
    }
}
