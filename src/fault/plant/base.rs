//! Faults planted in a base backup: files of the cluster lost, added, changed or exchanged inside its tar, as a bad disk or
//! a helping hand would.

use std::io::Read;

use tar::{Archive, Builder, Header};

use crate::error::{Doing, Error, Result};
use crate::fault::strike::PAGE;
use crate::sha256;
use crate::suite::Fault;

/// What Postgres calls the files that every base backup has.
const MANIFEST: &str = "backup_manifest";
const LABEL: &str = "backup_label";
const CONTROL: &str = "global/pg_control";

/// A file in a tar.
struct File {
    header: Header,
    name: String,
    data: Vec<u8>,
}

/// Plants the fault in a tar; `older` is the tar of the base backup before it.
pub(super) fn alter(fault: Fault, tar: &mut Vec<u8>, older: &[u8]) -> Result<()> {
    let mut files = unpacked(tar)?;
    match fault {
        Fault::B1 => {
            files.remove(largest(&files)?);
        }
        Fault::B2 => {
            let mut header = files[largest(&files)?].header.clone();
            header
                .set_path("base/1/999999")
                .doing("name a stray file")?;
            files.insert(
                0,
                File {
                    header,
                    name: String::new(),
                    data: vec![0; 8192],
                },
            );
        }
        Fault::B3 => {
            let at = largest(&files)?;
            files[at].data.pop();
        }
        Fault::B3Appended => {
            let at = largest(&files)?;
            files[at].data.extend([0; PAGE]);
        }
        Fault::B4 => {
            let at = largest(&files)?;
            files[at].data.fill(0);
        }
        Fault::B5 => {
            let at = find(&files, MANIFEST)?;
            let digit = files[at]
                .data
                .iter_mut()
                .rfind(|byte| byte.is_ascii_digit());
            let digit = digit.ok_or_else(|| Error::defect("the manifest has no digit"))?;
            *digit = if *digit == b'7' { b'8' } else { b'7' };
        }
        Fault::B5Deleted => {
            files.remove(find(&files, MANIFEST)?);
        }
        Fault::B5Emptied => {
            let at = find(&files, MANIFEST)?;
            files[at].data.clear();
        }
        Fault::B5Recomputed => {
            let (at, manifest) = (largest(&files)?, find(&files, MANIFEST)?);
            let before = sha256::hex_of(&files[at].data);
            super::flip_middle(&mut files[at].data);
            let after = sha256::hex_of(&files[at].data);
            let text = String::from_utf8_lossy(&files[manifest].data).replace(&before, &after);
            files[manifest].data = summed_up(&text)?.into_bytes();
        }
        Fault::B7 => {
            files.remove(find(&files, LABEL)?);
        }
        Fault::B22 => {
            let mut older = unpacked(older)?;
            let older = older.swap_remove(find(&older, CONTROL)?);
            let at = find(&files, CONTROL)?;
            files[at].data = older.data;
        }
        _ => return Err(Error::defect(format!("{fault} is not of a base backup"))),
    }
    *tar = packed(files)?;
    Ok(())
}

/// A manifest whose last line, the checksum of all before it, is right again.
fn summed_up(manifest: &str) -> Result<String> {
    let last = manifest.rfind("\"Manifest-Checksum\"");
    let last = last.ok_or_else(|| Error::defect("the manifest has no checksum of its own"))?;
    let all = &manifest[..last];
    Ok(format!(
        "{all}\"Manifest-Checksum\": \"{}\"}}\n",
        sha256::hex_of(all)
    ))
}

/// The largest file of a table.
fn largest(files: &[File]) -> Result<usize> {
    let tables = (0..files.len()).filter(|at| files[*at].name.starts_with("base/"));
    tables
        .max_by_key(|at| files[*at].data.len())
        .ok_or_else(|| Error::defect("the base backup has no table"))
}

fn find(files: &[File], name: &str) -> Result<usize> {
    let mut names = files.iter().map(|file| file.name.trim_start_matches("./"));
    names
        .position(|known| known == name)
        .ok_or_else(|| Error::defect(format!("the base backup has no {name}")))
}

fn unpacked(tar: &[u8]) -> Result<Vec<File>> {
    let mut archive = Archive::new(tar);
    let entries = archive.entries().doing("read a base backup to damage it")?;
    entries
        .map(|entry| {
            let mut entry = entry?;
            let mut data = Vec::new();
            entry.read_to_end(&mut data)?;
            Ok(File {
                header: entry.header().clone(),
                name: entry.path()?.to_string_lossy().into_owned(),
                data,
            })
        })
        .collect::<std::io::Result<_>>()
        .doing("read a base backup to damage it")
}

fn packed(files: Vec<File>) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for mut file in files {
        file.header.set_size(file.data.len() as u64);
        file.header.set_cksum();
        tar.append(&file.header, file.data.as_slice())
            .doing("write a damaged base backup")?;
    }
    tar.into_inner().doing("write a damaged base backup")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar of a base backup with these files.
    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let file = |(name, data): &(&str, &[u8])| {
            let mut header = Header::new_ustar();
            header.set_path(name).expect("a name");
            File {
                header,
                name: String::new(),
                data: data.to_vec(),
            }
        };
        packed(files.iter().map(file).collect()).expect("a tar")
    }

    fn files(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
        let all = unpacked(tar).expect("a tar").into_iter();
        all.map(|file| (file.name, file.data)).collect()
    }

    #[test]
    fn each_fault_changes_one_file_and_nothing_else() {
        let before = [
            ("base/1/1", &[1u8; 700][..]),
            ("base/1/2", &[2u8; 5]),
            ("global/pg_control", b"new"),
            ("backup_label", b"label"),
            ("backup_manifest", b"checksum 12345"),
        ];
        let older = tar(&[("global/pg_control", b"older")]);
        let altered = |fault| {
            let mut altered = tar(&before);
            alter(fault, &mut altered, &older).expect("planted");
            files(&altered)
        };
        let change = |name: &str, data: Option<&[u8]>| {
            let mut all = files(&tar(&before));
            let at = all.iter().position(|(known, _)| known == name);
            let at = at.expect("is there");
            match data {
                Some(data) => all[at].1 = data.to_vec(),
                None => drop(all.remove(at)),
            }
            all
        };
        assert_eq!(altered(Fault::B1), change("base/1/1", None));
        assert_eq!(altered(Fault::B3), change("base/1/1", Some(&[1; 699])));
        assert_eq!(altered(Fault::B4), change("base/1/1", Some(&[0; 700])));
        let mut longer = vec![1; 700];
        longer.extend([0; PAGE]);
        assert_eq!(
            altered(Fault::B3Appended),
            change("base/1/1", Some(&longer))
        );
        let manifest = change("backup_manifest", Some(b"checksum 12347"));
        assert_eq!(altered(Fault::B5), manifest);
        assert_eq!(altered(Fault::B5Deleted), change("backup_manifest", None));
        assert_eq!(
            altered(Fault::B5Emptied),
            change("backup_manifest", Some(b""))
        );
        assert_eq!(altered(Fault::B7), change("backup_label", None));
        assert_eq!(
            altered(Fault::B22),
            change("global/pg_control", Some(b"older"))
        );
    }

    #[test]
    fn a_manifest_that_is_recomputed_fits_the_file_that_was_changed() {
        let data = [1u8; 700];
        let manifest = |data: &[u8]| {
            let all = format!("{{ \"Files\": [ \"{}\" ],\n", sha256::hex_of(data));
            let own = sha256::hex_of(&all);
            format!("{all}\"Manifest-Checksum\": \"{own}\"}}\n")
        };
        let before = manifest(&data);
        let mut altered = tar(&[
            ("base/1/1", &data[..]),
            ("backup_manifest", before.as_bytes()),
        ]);
        alter(Fault::B5Recomputed, &mut altered, &[]).expect("planted");
        let found = files(&altered);
        assert_ne!(found[0].1, data);
        assert_eq!(found[0].1.len(), data.len());
        assert_eq!(found[1].1, manifest(&found[0].1).into_bytes());
    }

    #[test]
    fn a_stray_file_comes_beside_all_others() {
        let before = [("base/1/1", &[1u8; 700][..]), ("backup_label", b"label")];
        let mut stray = tar(&before);
        alter(Fault::B2, &mut stray, &[]).expect("planted");
        let stray = files(&stray);
        assert_eq!(stray.len(), before.len() + 1);
        assert!(stray.iter().any(|(name, _)| name == "base/1/999999"));
    }
}
