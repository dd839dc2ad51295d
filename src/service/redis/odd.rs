//! The odd keys of the generator: one of everything that a backup or a restore may lose or bend, few in number and
//! a few megabytes in all, whatever the scale.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::context::Context;
use crate::error::Result;
use crate::service::redis::client::{Client, cmd};
use crate::service::redis::seed::{FAR, Writer, binary, many, one, text};
use crate::sha256;

/// The function library that is loaded.
pub const LIBRARY: &str = "redrill";
/// Its code.
const CODE: &str = "#!lua name=redrill
redis.register_function{
  function_name='redrill_keys',
  callback=function(keys, args) return redis.call('DBSIZE') end,
  flags={'no-writes'}
}";
/// The user that is made.
pub const USER: &str = "redrill-app";

/// Makes the odd keys, the function library and the user.
pub async fn seed(ctx: &Context, client: &mut Client, rng: &mut ChaCha8Rng) -> Result<()> {
    let fields_expire = client.has("HPEXPIREAT").await?;
    let mut writer = Writer::new(ctx, client);
    strings(&mut writer, rng).await?;
    lists_and_sets(&mut writer, rng).await?;
    hashes(&mut writer, rng, fields_expire).await?;
    sorted_sets(&mut writer, rng).await?;
    streams(&mut writer, rng).await?;
    expiries(&mut writer).await?;
    writer.flush().await?;
    other_databases(ctx, client).await?;
    functions_and_users(ctx, client, rng).await
}

async fn strings(writer: &mut Writer<'_>, rng: &mut ChaCha8Rng) -> Result<()> {
    let large = binary(rng, 1 << 20);
    let values: [(&[u8], &[u8]); 16] = [
        (b"odd:empty", b""),
        (b"odd:large", &large),
        (b"odd:repeated", &[b'r'; 50_000]),
        (b"odd:integer:max", b"9223372036854775807"),
        (b"odd:integer:min", b"-9223372036854775808"),
        (b"odd:integer:not", b"007"),
        (b"odd:zero-byte", b"before\0after"),
        (b"odd:protocol", b"$6\r\nfoobar\r\n*1\r\n"),
        (b"odd:key with spaces", b"spaces"),
        (b"odd:key\nwith\r\nlines", b"lines"),
        (b"odd:'quotes\"and\\slashes", b"quotes"),
        ("odd:ключ:🎲:鍵".as_bytes(), "значение ✓".as_bytes()),
        (b"odd:\x00\xff\xfe binary", b"\xc3\x28 not utf-8"),
        (b"odd:{slot}:key", b"hash tag"),
        (b"odd:*?[glob]", b"pattern"),
        (b"", b"the empty key"),
    ];
    for (key, value) in values {
        writer.add(one("SET", key, &[value])).await?;
    }
    for bit in [0, 7, 8, 100_003, 800_000_u32] {
        let offset = bit.to_string();
        writer
            .add(one("SETBIT", "odd:bitmap", &[offset.as_bytes(), b"1"]))
            .await?;
    }
    writer
        .add(many("PFADD", "odd:hll:sparse", &[text(rng, 8)]))
        .await?;
    for _ in 0..10 {
        let visitors: Vec<_> = (0..1_000).map(|_| text(rng, 12)).collect();
        writer
            .add(many("PFADD", "odd:hll:dense", &visitors))
            .await?;
    }
    for place in 0..300 {
        let longitude = format!("{:.5}", rng.random_range(-179.0..179.0_f64));
        let latitude = format!("{:.5}", rng.random_range(-84.0..84.0_f64));
        let name = format!("place {place}");
        let arguments = [longitude.as_bytes(), latitude.as_bytes(), name.as_bytes()];
        writer.add(one("GEOADD", "odd:geo", &arguments)).await?;
    }
    Ok(())
}

async fn lists_and_sets(writer: &mut Writer<'_>, rng: &mut ChaCha8Rng) -> Result<()> {
    let small = [b"b".to_vec(), b"a".to_vec(), b"b".to_vec(), Vec::new()];
    writer.add(many("RPUSH", "odd:list:small", &small)).await?;
    for _ in 0..10 {
        let items: Vec<_> = (0..1_000).map(|_| text(rng, 24)).collect();
        writer.add(many("RPUSH", "odd:list:long", &items)).await?;
    }
    let items: Vec<_> = (0..8).map(|_| binary(rng, 40_000)).collect();
    writer.add(many("RPUSH", "odd:list:wide", &items)).await?;

    let numbers: Vec<_> = (-50..50_i64)
        .map(|number| (number * 1_234_567_890_123).to_string().into_bytes())
        .collect();
    writer
        .add(many("SADD", "odd:set:integers", &numbers))
        .await?;
    let few = [Vec::new(), b"\0".to_vec(), b"12".to_vec()];
    writer.add(many("SADD", "odd:set:small", &few)).await?;
    for _ in 0..5 {
        let members: Vec<_> = (0..1_000).map(|_| text(rng, 20)).collect();
        writer.add(many("SADD", "odd:set:large", &members)).await?;
    }
    let wide: Vec<_> = (0..40).map(|_| binary(rng, 10_000)).collect();
    writer.add(many("SADD", "odd:set:wide", &wide)).await
}

async fn hashes(writer: &mut Writer<'_>, rng: &mut ChaCha8Rng, fields_expire: bool) -> Result<()> {
    let small = ["", "empty field name", "b", "", "c\nd", "lines"].map(|word| word.into());
    writer.add(many("HSET", "odd:hash:small", &small)).await?;
    for part in 0..10 {
        let mut fields = Vec::new();
        for number in 0..1_000 {
            fields.push(format!("field:{part}:{number}").into_bytes());
            fields.push(text(rng, 24));
        }
        writer.add(many("HSET", "odd:hash:large", &fields)).await?;
    }
    let wide = [b"picture".to_vec(), binary(rng, 300_000)];
    writer.add(many("HSET", "odd:hash:wide", &wide)).await?;
    if fields_expire {
        let fields = ["stays", "1", "goes", "2", "goes too", "3"].map(|word| word.into());
        writer.add(many("HSET", "odd:hash:fading", &fields)).await?;
        let instant = FAR.to_string();
        let arguments: [&[u8]; 5] = [instant.as_bytes(), b"FIELDS", b"2", b"goes", b"goes too"];
        writer
            .add(one("HPEXPIREAT", "odd:hash:fading", &arguments))
            .await?;
    }
    Ok(())
}

async fn sorted_sets(writer: &mut Writer<'_>, rng: &mut ChaCha8Rng) -> Result<()> {
    let small: [&[u8]; 16] = [
        b"-inf",
        b"lowest",
        b"+inf",
        b"highest",
        b"0",
        b"zero",
        b"1",
        b"equal b",
        b"1",
        b"equal a",
        b"1.7976931348623157e308",
        b"huge",
        b"5e-324",
        b"tiny",
        b"0.1",
        b"tenth",
    ];
    writer.add(one("ZADD", "odd:zset:small", &small)).await?;
    for part in 0..10 {
        let mut members = Vec::new();
        for number in 0..1_000 {
            members.push(rng.random_range(0..2_000_u32).to_string().into_bytes());
            members.push(format!("member:{part}:{number}").into_bytes());
        }
        writer.add(many("ZADD", "odd:zset:large", &members)).await?;
    }
    for (score, member) in [("-inf", "bottom"), ("+inf", "top")] {
        writer
            .add(one(
                "ZADD",
                "odd:zset:large",
                &[score.as_bytes(), member.as_bytes()],
            ))
            .await?;
    }
    Ok(())
}

async fn streams(writer: &mut Writer<'_>, rng: &mut ChaCha8Rng) -> Result<()> {
    const KEY: &str = "odd:stream:groups";
    for number in 1..=3_000_u32 {
        let id = format!("{}-0", 1_700_000_000_000 + u64::from(number));
        let body = text(rng, 20);
        let entry: [&[u8]; 5] = [id.as_bytes(), b"number", id.as_bytes(), b"body", &body];
        writer.add(one("XADD", KEY, &entry)).await?;
    }
    for group in ["readers", "idle", "late"] {
        let start: &[u8] = if group == "late" { b"$" } else { b"0" };
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(KEY).arg(group).arg(start);
        writer.add(create).await?;
    }
    for (consumer, count) in [("alice", "1200"), ("bob", "7"), ("carol", "1")] {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg("readers").arg(consumer);
        read.arg("COUNT")
            .arg(count)
            .arg("STREAMS")
            .arg(KEY)
            .arg(">");
        writer.add(read).await?;
    }
    let mut consumer = cmd("XGROUP");
    consumer
        .arg("CREATECONSUMER")
        .arg(KEY)
        .arg("idle")
        .arg("nobody");
    writer.add(consumer).await?;
    let id = |number: u64| format!("{}-0", 1_700_000_000_000 + number).into_bytes();
    // Acknowledged, delivered twice, deleted while pending, deleted, cut off at the start.
    let acknowledged: Vec<_> = [b"readers".to_vec()]
        .into_iter()
        .chain((1..100).map(id))
        .collect();
    writer.add(many("XACK", KEY, &acknowledged)).await?;
    let mut claim = cmd("XCLAIM");
    claim.arg(KEY).arg("readers").arg("bob").arg(0);
    for number in 200..210 {
        claim.arg(id(number));
    }
    writer.add(claim).await?;
    let deleted: Vec<_> = [300, 301, 2_500, 3_000].into_iter().map(id).collect();
    writer.add(many("XDEL", KEY, &deleted)).await?;
    writer.add(one("XTRIM", KEY, &[b"MAXLEN", b"2900"])).await?;

    // Nothing in it, and yet not nothing: a group, and the last identifier.
    let mut create = cmd("XGROUP");
    create
        .arg("CREATE")
        .arg("odd:stream:empty")
        .arg("waiting")
        .arg("$")
        .arg("MKSTREAM");
    writer.add(create).await?;
    writer
        .add(one("XADD", "odd:stream:emptied", &[b"5-5", b"a", b"1"]))
        .await?;
    writer
        .add(one("XDEL", "odd:stream:emptied", &[b"5-5"]))
        .await
}

async fn expiries(writer: &mut Writer<'_>) -> Result<()> {
    for (number, (name, key, arguments)) in [
        ("SET", "odd:expiring:string", vec!["1"]),
        ("RPUSH", "odd:expiring:list", vec!["1", "2"]),
        ("SADD", "odd:expiring:set", vec!["1", "a"]),
        ("HSET", "odd:expiring:hash", vec!["f", "1"]),
        ("ZADD", "odd:expiring:zset", vec!["1", "a"]),
        ("XADD", "odd:expiring:stream", vec!["1-1", "f", "1"]),
    ]
    .into_iter()
    .enumerate()
    {
        let arguments: Vec<&[u8]> = arguments.into_iter().map(str::as_bytes).collect();
        writer.add(one(name, key, &arguments)).await?;
        let instant = (FAR + number as u64 * 86_400_000).to_string();
        writer
            .add(one("PEXPIREAT", key, &[instant.as_bytes()]))
            .await?;
    }
    Ok(())
}

/// The same name in several databases, with different values.
async fn other_databases(ctx: &Context, client: &mut Client) -> Result<()> {
    for database in [0, 1, 2, 5_u32] {
        client.select(database).await?;
        let mut writer = Writer::new(ctx, client);
        let value = format!("database {database}");
        writer
            .add(one("SET", "odd:same-name", &[value.as_bytes()]))
            .await?;
        writer.flush().await?;
    }
    client.select(0).await
}

async fn functions_and_users(
    ctx: &Context,
    client: &mut Client,
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    let mut load = cmd("FUNCTION");
    load.arg("LOAD").arg("REPLACE").arg(CODE);
    client.call(&load).await?;

    // Its own generator, so that the password does not hang on how much was drawn before.
    let mut rng = ChaCha8Rng::from_rng(rng);
    let password = String::from_utf8_lossy(&text(&mut rng, 32)).into_owned();
    ctx.secrets.register("password of a redis user", &password);
    // How Redis keeps the passwords of its users.
    let hash = sha256::hex_of(&password);
    ctx.secrets.register("password hash of a redis user", hash);
    let mut user = cmd("ACL");
    user.arg("SETUSER").arg(USER).arg("reset").arg("on");
    user.arg(format!(">{password}"));
    user.arg("~session:*")
        .arg("&news:*")
        .arg("+@read")
        .arg("+@connection");
    // The server quotes a rule that it does not like, and one of these is a password.
    client
        .call(&user)
        .await
        .map(drop)
        .map_err(|_| crate::error::Error::failed(format!("the server refuses the user {USER}")))
}
