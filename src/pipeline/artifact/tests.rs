use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::context::RunId;
use crate::evidence::StoredFact;
use crate::pipeline::verify::inspect;
use crate::repository::{LocalRepository, Stored};
use crate::sha256;

struct Place {
    dir: tempfile::TempDir,
    ctx: Context,
    repository: Arc<dyn Repository>,
}

fn place() -> Place {
    let dir = tempfile::tempdir().expect("a directory");
    let ctx = Context::new(
        RunId::from_text("20250112-140000-0badcafe"),
        dir.path().join("drill"),
        dir.path().join("logs"),
        CancellationToken::new(),
    );
    let repository = LocalRepository::new("here", dir.path().join("repository"));
    Place {
        ctx: ctx.expect("a context"),
        repository: Arc::new(repository.expect("a repository")),
        dir,
    }
}

fn origin() -> Origin {
    Origin {
        backup: "postgres".to_owned(),
        component: "db".to_owned(),
        taken_at: DateTime::from_timestamp(1_736_690_400, 0).expect("an instant"),
        engine: "postgres 15.18".to_owned(),
        compression: "none".to_owned(),
    }
}

fn body(bytes: &[u8]) -> Reading {
    Box::new(std::io::Cursor::new(bytes.to_vec()))
}

async fn write(place: &Place, bytes: &[u8], keys: Option<Keys>) -> Manifest {
    let artifact = ArtifactWriter::new(&place.ctx, origin(), vec![place.repository.clone()], keys);
    artifact
        .file(&place.ctx, "db.dump", body(bytes), BTreeMap::new())
        .await
        .expect("stored");
    let draft = artifact.draft(&place.ctx);
    artifact.commit(&place.ctx, draft).await.expect("committed")
}

async fn inspected(place: &Place, manifest: &Manifest) -> Result<StoredFact> {
    let reader = ArtifactReader::new(manifest.clone(), place.repository.clone(), None);
    Ok(inspect(&place.ctx, &reader, b"").await?.0)
}

async fn read(place: &Place, manifest: &Manifest, keys: Option<Keys>) -> Result<Vec<u8>> {
    let reader = ArtifactReader::new(manifest.clone(), place.repository.clone(), keys);
    let mut bytes = Vec::new();
    let mut reading = reader.open(&place.ctx, "db.dump").await?;
    reading.read_to_end(&mut bytes).await.doing("read")?;
    Ok(bytes)
}

/// Saving must fail and leave the directory as it was.
async fn refuses_to_save(place: &Place, manifest: &Manifest, keys: Option<Keys>) -> bool {
    let out = tempfile::tempdir().expect("a directory");
    let reader = ArtifactReader::new(manifest.clone(), place.repository.clone(), keys);
    let saved = reader
        .save(&place.ctx, "db.dump", &out.path().join("db.dump"))
        .await;
    let left = std::fs::read_dir(out.path()).expect("readable").count();
    saved.is_err() && left == 0
}

async fn replace(place: &Place, key: &str, bytes: &[u8]) {
    place
        .repository
        .put(&place.ctx, key, body(bytes), &BTreeMap::new())
        .await
        .expect("replaced");
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

/// Sizes around age's chunk border, where ends are easily missed, and any others.
fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(65_535),
        Just(65_536),
        Just(65_537),
        Just(131_072),
        0usize..300_000
    ]
}

fn content(size: usize, seed: u8) -> Vec<u8> {
    (0..size)
        .map(|n| (n as u8).wrapping_mul(31) ^ seed)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_bytes_come_back_as_they_were(size in sizes(), seed: u8, encrypted: bool) {
        run(async {
            let place = place();
            let keys = encrypted.then(|| Keys::generate(&place.ctx));
            let bytes = content(size, seed);
            let manifest = write(&place, &bytes, keys.clone()).await;
            assert_eq!(read(&place, &manifest, keys).await.expect("readable"), bytes);
        });
    }

    #[test]
    fn one_flipped_bit_anywhere_fails(size in sizes(), at: prop::sample::Index, bit in 0u8..8, encrypted: bool) {
        run(async {
            let place = place();
            let keys = encrypted.then(|| Keys::generate(&place.ctx));
            let manifest = write(&place, &content(size.max(1), 7), keys.clone()).await;
            let key = manifest.files[0].key.clone();
            let mut stored = Vec::new();
            let mut reading = place.repository.get(&place.ctx, &key).await.expect("there");
            reading.read_to_end(&mut stored).await.expect("readable");
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            replace(&place, &key, &stored).await;
            assert!(read(&place, &manifest, keys.clone()).await.is_err());
            assert!(refuses_to_save(&place, &manifest, keys).await);
        });
    }

    #[test]
    fn any_truncation_and_any_addition_fails(size in sizes(), keep: prop::sample::Index, encrypted: bool) {
        run(async {
            let place = place();
            let keys = encrypted.then(|| Keys::generate(&place.ctx));
            let manifest = write(&place, &content(size.max(1), 7), keys.clone()).await;
            let key = manifest.files[0].key.clone();
            let mut stored = Vec::new();
            let mut reading = place.repository.get(&place.ctx, &key).await.expect("there");
            reading.read_to_end(&mut stored).await.expect("readable");
            replace(&place, &key, &stored[..keep.index(stored.len())]).await;
            assert!(read(&place, &manifest, keys.clone()).await.is_err());
            stored.push(0);
            replace(&place, &key, &stored).await;
            assert!(refuses_to_save(&place, &manifest, keys).await);
        });
    }
}

#[test]
fn a_cut_at_a_chunk_border_fails_even_when_the_manifest_was_made_to_fit() {
    run(async {
        let place = place();
        let keys = Keys::generate(&place.ctx);
        let mut manifest = write(&place, &content(200_000, 1), Some(keys.clone())).await;
        let key = manifest.files[0].key.clone();
        let mut stored = Vec::new();
        let mut reading = place.repository.get(&place.ctx, &key).await.expect("there");
        reading.read_to_end(&mut stored).await.expect("readable");
        // Header and nonce, then whole chunks of 64 KiB and a tag of 16 bytes.
        let tail = (200_000 % 65_536) + 16;
        stored.truncate(stored.len() - tail);
        replace(&place, &key, &stored).await;
        manifest.files[0].bytes = stored.len() as u64;
        let mut sums = stream::Sums::default();
        sums.update(&stored);
        manifest.files[0].sha256 = sums.finish().1;
        let error = read(&place, &manifest, Some(keys)).await.expect_err("cut");
        assert!(error.message().contains("truncated"), "{error}");
    });
}

#[test]
fn a_wrong_key_and_no_key_fail_and_leave_no_file() {
    run(async {
        let place = place();
        let keys = Keys::generate(&place.ctx);
        let manifest = write(&place, b"rows", Some(keys.clone())).await;
        let stranger = Keys::generate(&place.ctx);
        for wrong in [
            keys.with_identity_of(Some(&stranger)),
            keys.with_identity_of(None),
        ] {
            assert!(read(&place, &manifest, Some(wrong.clone())).await.is_err());
            assert!(refuses_to_save(&place, &manifest, Some(wrong)).await);
        }
        assert!(refuses_to_save(&place, &manifest, None).await);
        assert_eq!(
            read(&place, &manifest, Some(keys)).await.expect("opens"),
            b"rows"
        );
    });
}

#[test]
fn the_identity_is_a_known_secret_and_is_not_shown() {
    let place = place();
    let keys = Keys::generate(&place.ctx);
    let secrets = place.ctx.secrets.all();
    assert!(
        secrets
            .iter()
            .any(|(_, value)| value.starts_with("AGE-SECRET-KEY-1"))
    );
    assert!(!format!("{keys:?}").contains("SECRET"));
}

#[test]
fn equal_content_is_stored_differently_each_time() {
    run(async {
        let place = place();
        let keys = Keys::generate(&place.ctx);
        let one = write(&place, b"same", Some(keys.clone())).await;
        let other = super::tests::place();
        let two = write(&other, b"same", Some(keys)).await;
        assert_eq!(one.files[0].plain_sha256, two.files[0].plain_sha256);
        assert_ne!(one.files[0].sha256, two.files[0].sha256);
    });
}

#[test]
fn an_artifact_without_its_commit_is_none_and_can_be_abandoned() {
    run(async {
        let place = place();
        let repositories = vec![place.repository.clone()];
        let artifact = ArtifactWriter::new(&place.ctx, origin(), repositories, None);
        assert_eq!(artifact.id, "20250112T140000Z-0badcafe");
        let stored = artifact.file(&place.ctx, "db.dump", body(b"rows"), BTreeMap::new());
        stored.await.expect("stored");
        artifact
            .blobs()
            .store(
                &place.ctx,
                "ab12",
                Digest::of(&sha256::of("shared")),
                body(b"shared"),
            )
            .await
            .expect("stored");
        let found = Manifest::list(&place.ctx, &place.repository, "postgres").await;
        assert!(found.expect("listed").0.is_empty());
        artifact.abandon(&place.ctx).await.expect("abandoned");
        let left = place.repository.list(&place.ctx, "").await.expect("listed");
        assert_eq!(left, []);
    });
}

#[test]
fn a_second_artifact_of_the_same_name_is_refused() {
    run(async {
        let place = place();
        write(&place, b"first", None).await;
        let repositories = vec![place.repository.clone()];
        let artifact = ArtifactWriter::new(&place.ctx, origin(), repositories, None);
        let again = artifact.file(&place.ctx, "db.dump", body(b"second"), BTreeMap::new());
        let error = again.await.expect_err("refused");
        assert!(error.message().contains("already"), "{error}");
    });
}

/// A repository that is full after a few bytes.
struct Full;

#[async_trait::async_trait]
impl Repository for Full {
    fn name(&self) -> &str {
        "offsite"
    }
    async fn put(
        &self,
        _: &Context,
        _: &str,
        mut body: Reading,
        _: &BTreeMap<String, String>,
    ) -> Result<u64> {
        let mut some = [0; 100];
        let _ = body.read(&mut some).await;
        Err(Error::failed("no space left").doing("use repository offsite"))
    }
    async fn open(&self, _: &Context, _: &str) -> Result<(Stored, Reading)> {
        Err(Error::failed("not there"))
    }
    async fn head(&self, _: &Context, _: &str) -> Result<Option<Stored>> {
        Ok(None)
    }
    async fn list(&self, _: &Context, _: &str) -> Result<Vec<Stored>> {
        Ok(Vec::new())
    }
    async fn delete(&self, _: &Context, _: &[String]) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_failing_repository_fails_the_artifact_and_is_named_and_the_others_keep_nothing() {
    run(async {
        let place = place();
        for order in [true, false] {
            let mut repositories: Vec<Arc<dyn Repository>> =
                vec![place.repository.clone(), Arc::new(Full)];
            if order {
                repositories.reverse();
            }
            let artifact = ArtifactWriter::new(&place.ctx, origin(), repositories, None);
            let bytes = content(3_000_000, 3);
            let stored = artifact.file(&place.ctx, "db.dump", body(&bytes), BTreeMap::new());
            let error = stored.await.expect_err("one is full");
            assert!(error.message().contains("offsite"), "{error}");
            assert!(error.message().contains("no space left"), "{error}");
            let left = place.repository.list(&place.ctx, "").await.expect("listed");
            assert_eq!(left, []);
        }
    });
}

#[test]
fn a_source_that_breaks_off_leaves_nothing_and_its_own_words() {
    run(async {
        let place = place();
        let keys = Keys::generate(&place.ctx);
        for keys in [None, Some(keys)] {
            let repositories = vec![place.repository.clone()];
            let artifact = ArtifactWriter::new(&place.ctx, origin(), repositories, keys);
            let broken = Checked::new(body(b"half"), "pg_dump's output", 8);
            let stored = artifact.file(&place.ctx, "db.dump", Box::new(broken), BTreeMap::new());
            let error = stored.await.expect_err("cut short");
            assert!(
                error.message().contains("pg_dump's output: cut short"),
                "{error}"
            );
            let left = place.repository.list(&place.ctx, "").await.expect("listed");
            assert_eq!(left, []);
        }
        let unfinished = place.dir.path().join("repository/.unfinished");
        assert_eq!(std::fs::read_dir(unfinished).expect("readable").count(), 0);
    });
}

#[test]
fn what_is_stored_is_verified_without_a_key_and_says_the_time_and_version_of_its_source() {
    run(async {
        let place = place();
        let keys = Keys::generate(&place.ctx);
        let manifest = write(&place, &content(100_000, 9), Some(keys)).await;
        let fact = inspected(&place, &manifest).await;
        let fact = fact.expect("verified");
        assert!(fact.committed && fact.manifest_last == Some(true) && fact.error.is_none());
        assert_eq!(fact.metadata["rpo"], "1736690400");
        assert_eq!(fact.metadata["db_version"], "postgres 15.18");
        assert_eq!((fact.sound, fact.amiss.len()), (1, 0));
        let file = &manifest.files[0];
        assert_eq!(file.key, "postgres/20250112T140000Z-0badcafe/1.age");

        let keys = vec![file.key.clone()];
        place
            .repository
            .delete(&place.ctx, &keys)
            .await
            .expect("deleted");
        let fact = inspected(&place, &manifest).await;
        let fact = fact.expect("verified");
        assert_eq!(fact.amiss[0].found_bytes, None);
        assert!(
            fact.error
                .is_some_and(|error| error.contains("is not there"))
        );
        place
            .repository
            .delete(&place.ctx, &[manifest.key()])
            .await
            .expect("deleted");
        let fact = inspected(&place, &manifest).await;
        assert!(!fact.expect("verified").committed);
    });
}
