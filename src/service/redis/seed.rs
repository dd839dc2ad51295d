//! The generator: the same number of keys and the same seed give the same content, on any server of one version.
//!
//! Most keys are what a game site keeps (sessions, players, teams, leaderboards, feeds), spread over four
//! databases; a few are there because restores have gone wrong on their like: every type in its small and its
//! large form, binary and empty values, odd names, infinities, deleted stream entries, expiries (see [`super::odd`]).
//! Expiries lie at fixed instants far away, except for those of [`SOON`] keys that elapse within seconds, rightly.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::context::Context;
use crate::error::{Doing, Result};
use crate::service::redis::client::{Batch, Client, Cmd, cmd, keyspaces};
use crate::service::redis::odd;

/// The databases that get keys, with their shares in percent.
const DATABASES: [(u32, u64); 4] = [(0, 70), (1, 15), (2, 10), (5, 5)];
/// First of the far expiries: 2100-01-01T00:00:00Z, in milliseconds since 1970.
pub const FAR: u64 = 4_102_444_800_000;
/// Every so many keys, one has an expiry.
const EXPIRING: u64 = 10;
/// How many keys elapse [`SOON_MILLISECONDS`] after they are written.
pub const SOON: u64 = 20;
/// How long those live.
pub const SOON_MILLISECONDS: u64 = 2_000;
/// How many commands are sent at once.
const BATCH: usize = 1_000;

/// Commands on their way to the server, sent in large batches.
pub struct Writer<'a> {
    ctx: &'a Context,
    client: &'a mut Client,
    batch: Batch,
}

impl<'a> Writer<'a> {
    /// A writer on a connection.
    pub fn new(ctx: &'a Context, client: &'a mut Client) -> Self {
        Self {
            ctx,
            client,
            batch: Batch::with_capacity(BATCH),
        }
    }

    /// Takes a command.
    pub async fn add(&mut self, command: Cmd) -> Result<()> {
        self.batch.add_command(command);
        if self.batch.len() >= BATCH {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what is left.
    pub async fn flush(&mut self) -> Result<()> {
        self.ctx.go_on()?;
        let batch = std::mem::replace(&mut self.batch, Batch::with_capacity(BATCH));
        self.client.all(&batch).await.map(drop)
    }
}

/// Fills the server with `keys` keys in all, the odd ones among them (which are always there).
pub async fn seed(ctx: &Context, client: &mut Client, keys: u64, seed: u64) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    client.select(0).await?;
    let before = population(client).await?;
    odd::seed(ctx, client, &mut rng).await.doing("seed redis")?;
    let odd = population(client).await?.saturating_sub(before) + SOON;
    let bulk = keys.saturating_sub(odd);
    let mut number = 0;
    let mut share = 0;
    for (database, percent) in DATABASES {
        share += percent;
        client.select(database).await?;
        let mut writer = Writer::new(ctx, client);
        while number < bulk * share / 100 {
            ordinary(&mut writer, &mut rng, number)
                .await
                .doing("seed redis")?;
            number += 1;
        }
        writer.flush().await.doing("seed redis")?;
    }
    client.select(0).await?;
    let mut writer = Writer::new(ctx, client);
    for number in 0..SOON {
        let command = one(
            "SET",
            format!("one-time-code:{number}"),
            &[b"1", b"PX", SOON_MILLISECONDS.to_string().as_bytes()],
        );
        writer.add(command).await?;
    }
    writer.flush().await.doing("seed redis")
}

/// Keys of all databases, by the server's own count.
pub async fn population(client: &mut Client) -> Result<u64> {
    let all = keyspaces(client).await?;
    Ok(all
        .values()
        .map(|keyspace| keyspace.persistent + keyspace.expiring)
        .sum())
}

/// One key as a site has thousands of.
async fn ordinary(writer: &mut Writer<'_>, rng: &mut ChaCha8Rng, number: u64) -> Result<()> {
    let (key, command) = match number % 100 {
        0..30 => {
            let key = format!("session:{:032x}", rng.random::<u128>());
            let size = rng.random_range(100..700);
            (key.clone(), one("SET", &key, &[&text(rng, size)]))
        }
        30..40 => {
            let key = format!("cache:page:{number}");
            let size = rng.random_range(300..1_500);
            (key.clone(), one("SET", &key, &[&binary(rng, size)]))
        }
        40..50 => {
            let key = format!("counter:views:{number}");
            let count = rng.random_range(0..1_000_000_u32).to_string();
            (key.clone(), one("SET", &key, &[count.as_bytes()]))
        }
        50..70 => {
            let key = format!("player:{number}");
            (key.clone(), player(&key, rng, number))
        }
        70..78 => {
            let key = format!("feed:{number}");
            let items: Vec<Vec<u8>> = (0..rng.random_range(1..20))
                .map(|_| text(rng, 40))
                .collect();
            (key.clone(), many("RPUSH", &key, &items))
        }
        78..82 => {
            let key = format!("roster:{number}");
            let members: Vec<Vec<u8>> = (0..rng.random_range(1..40))
                .map(|_| rng.random_range(1..100_000_u32).to_string().into_bytes())
                .collect();
            (key.clone(), many("SADD", &key, &members))
        }
        82..86 => {
            let key = format!("tags:{number}");
            let tags: Vec<Vec<u8>> = (0..rng.random_range(1..20))
                .map(|_| text(rng, 16))
                .collect();
            (key.clone(), many("SADD", &key, &tags))
        }
        86..94 => {
            let key = format!("leaderboard:{number}");
            (key.clone(), leaderboard(&key, rng))
        }
        94..96 => {
            let key = format!("active-days:{number}");
            let day = rng.random_range(0..2_000_u32).to_string();
            (key.clone(), one("SETBIT", &key, &[day.as_bytes(), b"1"]))
        }
        96..98 => {
            let key = format!("visitors:{number}");
            let visitors: Vec<Vec<u8>> = (0..rng.random_range(1..30))
                .map(|_| text(rng, 12))
                .collect();
            (key.clone(), many("PFADD", &key, &visitors))
        }
        98 => {
            let key = format!("venues:{number}");
            let place = format!("{:.4}", rng.random_range(-80.0..80.0_f64));
            let place = place.as_bytes();
            (key.clone(), one("GEOADD", &key, &[place, place, b"hall"]))
        }
        _ => {
            let key = format!("events:{number}");
            for event in 1..rng.random_range(2..8_u32) {
                let id = format!("{}-{event}", 1_700_000_000_000 + number);
                let command = one("XADD", &key, &[id.as_bytes(), b"what", &text(rng, 30)]);
                writer.add(command).await?;
            }
            let command = one("XADD", &key, &[b"1800000000000-0", b"what", b"end"]);
            (key.clone(), command)
        }
    };
    writer.add(command).await?;
    if number.is_multiple_of(EXPIRING) {
        // Over a week, a minute or more apart.
        let instant = FAR + (number * 7_919 % 10_080) * 60_000 + number % 60_000;
        writer
            .add(one("PEXPIREAT", &key, &[instant.to_string().as_bytes()]))
            .await?;
    }
    Ok(())
}

fn player(key: &str, rng: &mut ChaCha8Rng, number: u64) -> Cmd {
    let mut command = cmd("HSET");
    command.arg(key).arg("id").arg(number);
    command.arg("name").arg(text(rng, 12));
    command.arg("country").arg(text(rng, 2));
    command.arg("rating").arg(rng.random_range(100..3_000_u32));
    command.arg("wins").arg(rng.random_range(0..900_u32));
    for badge in 0..rng.random_range(0..12_u32) {
        command.arg(format!("badge:{badge}")).arg(text(rng, 20));
    }
    command
}

fn leaderboard(key: &str, rng: &mut ChaCha8Rng) -> Cmd {
    let mut command = cmd("ZADD");
    command.arg(key);
    for _ in 0..rng.random_range(2..25_u32) {
        command
            .arg(rng.random_range(0..50_000_u32))
            .arg(text(rng, 10));
    }
    command
}

/// A command on a key with arguments.
pub fn one(name: &str, key: impl AsRef<[u8]>, arguments: &[&[u8]]) -> Cmd {
    let mut command = cmd(name);
    command.arg(key.as_ref());
    for argument in arguments {
        command.arg(*argument);
    }
    command
}

/// A command on a key with many arguments.
pub fn many(name: &str, key: impl AsRef<[u8]>, arguments: &[Vec<u8>]) -> Cmd {
    let mut command = cmd(name);
    command.arg(key.as_ref());
    for argument in arguments {
        command.arg(argument.as_slice());
    }
    command
}

/// Letters and digits, as tokens have.
pub fn text(rng: &mut impl Rng, length: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut bytes = binary(rng, length);
    for byte in &mut bytes {
        *byte = LETTERS[usize::from(*byte & 63)];
    }
    bytes
}

/// Any bytes at all.
pub fn binary(rng: &mut impl Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}
