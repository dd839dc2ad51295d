//! The source's side: what archives, and what ships.

use std::sync::Arc;

use libtest_mimic::Failed;
use redrill::pipeline::Pipeline;
use redrill::pipeline::artifact::Destination;
use redrill::provision::Wanted;
use redrill::repository::Repository;
use redrill::service::postgres::PostgresService;
use redrill::service::{Running, Service};
use redrill::suite::Engine;

use crate::lab::{BACKUP, Lab, pipeline};

/// Runs the installed archive script as the server would.
async fn archive(
    lab: &Lab,
    server: &dyn Running,
    from: &str,
    name: &str,
) -> Result<String, Failed> {
    let home = server.data_dir().with_file_name("archive");
    let run = server
        .tool("sh")
        .arg(home.join("archive.sh"))
        .args([from, name])
        .arg(home.join("wal"));
    let finished = run.run(&lab.ctx).await?;
    Ok(format!("{:?} {}", finished.exit, finished.stderr))
}

pub async fn the_archiver_is_idempotent_and_never_overwrites(lab: &Lab) -> Result<(), Failed> {
    let target = another(lab).await?;
    let server = target.server();
    let staging = server.staging();
    let place = |name: &str| staging.join(name).to_string_lossy().into_owned();
    for (name, text) in [("one", "content"), ("other", "another content")] {
        redrill::service::write_file(
            &lab.ctx,
            &*server,
            &staging.join(name),
            Box::new(std::io::Cursor::new(text.as_bytes())),
        )
        .await?;
    }
    let name = "000000990000000000000001";
    for _ in 0..2 {
        let said = archive(lab, &*server, &place("one"), name).await?;
        assert!(said.starts_with("Some(0)"), "{said}");
    }
    let said = archive(lab, &*server, &place("other"), name).await?;
    assert!(
        said.starts_with("Some(1)") && said.contains("other content"),
        "{said}"
    );
    let said = archive(lab, &*server, &place("nowhere"), "000000990000000000000002").await?;
    assert!(!said.starts_with("Some(0)"), "{said}");
    let archived = server.data_dir().with_file_name("archive").join("wal");
    let listed =
        server
            .tool("sh")
            .args(["-c", "cd \"$1\"; ls -A | grep 0000009; cat \"$2\"", "sh"]);
    let listed = listed
        .arg(archived)
        .arg(name)
        .run(&lab.ctx)
        .await?
        .ok()?
        .text();
    assert_eq!(
        listed,
        format!("{name}\ncontent"),
        "nothing unfinished is left"
    );
    Ok(())
}

/// A source of its own, so that the shared one stays well.
async fn another(lab: &Lab) -> Result<PostgresService, Failed> {
    let wanted = Wanted {
        name: "another".to_owned(),
        engine: Engine::Postgres,
        version: None,
        settings: pipeline().source_settings(),
    };
    let service = lab.start(&wanted).await?;
    service.create(&lab.ctx).await?;
    service.plant(&lab.ctx, "nonce", "canary").await?;
    lab.prepare(&service).await?;
    Ok(service)
}

pub async fn an_archiver_that_falls_behind_is_said(lab: &Lab) -> Result<(), Failed> {
    let service = another(lab).await?;
    let server = service.server();
    let copy = lab.copy("behind");
    let destination = Destination::new("behind", vec![copy.repository()], None);
    service.write(&lab.ctx, 1).await?;
    pipeline().archive(&lab.ctx, &service, &destination).await?;
    service.write(&lab.ctx, 2).await?;
    // The archive's disk is full.
    let place = server.data_dir().with_file_name("archive").join("wal");
    let small = crate::lab::small_disk(&lab.ctx, &*server, &place, 64).await?;
    let error = pipeline().archive(&lab.ctx, &service, &destination).await;
    drop(small);
    let error = error.err().ok_or("it was archived")?.to_string();
    for words in [
        "the archiver is behind",
        "1 segments wait",
        "is in no repository",
        "a full disk",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    // With room again everything is archived: nothing was lost, only late.
    service.write(&lab.ctx, 3).await?;
    Ok(pipeline().archive(&lab.ctx, &service, &destination).await?)
}

pub async fn a_repository_keeps_its_own_segment_against_another_cluster(
    lab: &Lab,
) -> Result<(), Failed> {
    let service = another(lab).await?;
    let copy = lab.copy("kept");
    let repository: Arc<dyn Repository> = copy.repository();
    let kept = copy.segment(0).0;
    let before = std::fs::read(&kept)?;
    service.write(&lab.ctx, 1).await?;
    // Two servers archive to one place: their segments have the same names.
    let destination = Destination::new(BACKUP, vec![repository], None);
    let mut refused = None;
    for number in 2..6 {
        service.write(&lab.ctx, number).await?;
        if let Err(error) = pipeline().archive(&lab.ctx, &service, &destination).await {
            refused = Some(error.to_string());
            break;
        }
    }
    let refused = refused.ok_or("it was overwritten")?;
    for words in [
        "with other content",
        "not overwritten",
        "two servers archive",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    assert!(std::fs::read(&kept)? == before, "it has other content");
    Ok(())
}
