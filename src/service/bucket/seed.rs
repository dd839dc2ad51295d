//! The content of a seeded bucket: a media library with every kind of key and object that backups lose. Pure: the
//! same count, scale and seed give the same keys, headers and bytes.
//!
//! Not here: uploading it (see [`super::BucketService`]).

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::service::s3::{Headers, PART_BYTES};

/// Size of the one object that goes up in parts, and below which scale it is the smaller one.
const LARGE: u64 = 12 << 20;
const LARGE_AT_SMALL_SCALE: u64 = PART_BYTES + (1 << 20);
const SMALL_SCALE: f64 = 0.2;
/// The key of that object.
pub const LARGE_KEY: &str = "videos/grand-final.mp4";

/// Keys that tools get wrong: side by side, composed and decomposed, with every character that is encoded
/// somewhere on the way. With the size of each.
const ODD: &[(&str, u64)] = &[
    ("a", 10),
    ("a/", 0),
    ("a/b", 20),
    ("a//b", 21),
    ("empty.txt", 0),
    ("team_logos/empty.png", 0),
    ("user_avatars/with space.jpg", 900),
    ("user_avatars/plus+plus.jpg", 901),
    ("user_avatars/percent%20percent.jpg", 902),
    ("user_avatars/per cent+%2B.jpg", 903),
    ("user_avatars/caf\u{e9}.jpg", 904),
    ("user_avatars/cafe\u{301}.jpg", 905),
    ("user_avatars/Case.jpg", 906),
    ("user_avatars/case.jpg", 907),
    ("user_avatars/\u{65e5}\u{672c}\u{8a9e}.jpg", 908),
    (
        "team_logos/\u{1f3c6} winners & \u{ab}friends\u{bb}.png",
        909,
    ),
    ("team_logos/question?mark#hash=1;semi,comma.png", 910),
    ("team_logos/quote'\"quote.png", 911),
    ("team_logos/star*[bracket]{brace}~!$@:.png", 912),
];

/// Names that a sync of media leaves out.
const LEFT_OUT: &[(&str, u64)] = &[
    (".DS_Store", 6_148),
    ("__pycache__/y", 300),
    ("__pycache__/deep/z.bin", 301),
    ("x.pyc", 302),
    ("scripts/thumbnail.pyc", 303),
];

/// An object to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its headers.
    pub headers: Headers,
    seed: u64,
}

impl Planned {
    /// Its bytes, in chunks of up to 64 KiB.
    pub fn content(&self) -> impl Iterator<Item = Bytes> + use<> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut left = self.bytes;
        std::iter::from_fn(move || {
            let size = left.min(64 << 10) as usize;
            left -= size as u64;
            let mut chunk = vec![0; size];
            rng.fill(&mut chunk[..]);
            (size > 0).then(|| Bytes::from(chunk))
        })
    }
}

/// Every object of a bucket of `objects` × `scale` objects (never fewer than the odd ones, unless `objects` is 0):
/// about 46 KB each.
pub fn planned(objects: u64, scale: f64, seed: u64) -> impl Iterator<Item = Planned> + Send {
    let large = if scale < SMALL_SCALE {
        LARGE_AT_SMALL_SCALE
    } else {
        LARGE
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6d_6564_6961);
    let special = ODD
        .iter()
        .chain(LEFT_OUT)
        .map(|(key, bytes)| ((*key).to_owned(), Some(*bytes)))
        .chain([(LARGE_KEY.to_owned(), Some(large))]);
    let wanted = (objects as f64 * scale).round() as usize;
    let ordinary = wanted.saturating_sub(ODD.len() + LEFT_OUT.len() + 1);
    let ordinary = (0..ordinary).map(|number| {
        let key = match number % 4 {
            0 | 1 => format!("user_avatars/{:02x}/user-{number:06}.jpg", number % 256),
            2 => format!("team_logos/team-{number:06}.png"),
            _ => format!(
                "matches/2025/{:02}/screenshot-{number:06}.webp",
                number % 12 + 1
            ),
        };
        (key, None)
    });
    let all = special.chain(ordinary).filter(move |_| objects > 0);
    all.map(move |(key, bytes)| {
        let bytes = bytes.unwrap_or_else(|| {
            // Skewed, as media are: most are small, the mean is about 46 KB.
            let share: f64 = rng.random();
            (1_500.0 + share * share * 135_000.0) as u64
        });
        object(key, bytes, &mut rng)
    })
}

fn object(key: String, bytes: u64, rng: &mut ChaCha8Rng) -> Planned {
    let ending = key.rsplit_once('.').map_or("", |(_, ending)| ending);
    let content_type = match ending {
        "jpg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "mp4" => "video/mp4",
        "txt" => "text/plain; charset=utf-8",
        _ => "binary/octet-stream",
    };
    let mut metadata = BTreeMap::new();
    let mut others = BTreeMap::new();
    if bytes > 0 && rng.random_bool(0.7) {
        let user: u32 = rng.random_range(1..100_000);
        metadata.insert("uploaded-by".to_owned(), format!("user-{user}"));
        let width: u32 = rng.random_range(64..4096);
        metadata.insert("width".to_owned(), width.to_string());
    }
    if rng.random_bool(0.3) {
        let age = "public, max-age=86400".to_owned();
        others.insert("cache-control".to_owned(), age);
    }
    Planned {
        key,
        bytes,
        headers: Headers {
            content_type: Some(content_type.to_owned()),
            others,
            metadata,
        },
        seed: rng.random(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_other_ones() {
        let planned = |seed| planned(200, 1.0, seed).collect::<Vec<_>>();
        let first = planned(7);
        assert_eq!(first, planned(7));
        let bytes = |all: &[Planned]| all[30].content().collect::<Vec<_>>();
        assert_eq!(bytes(&first), bytes(&planned(7)));
        assert_ne!(bytes(&first), bytes(&planned(8)));
    }

    #[test]
    fn the_full_size_is_2500_objects_and_about_130_mb_with_every_odd_key() {
        let all: Vec<_> = planned(2_500, 1.0, 1).collect();
        assert_eq!(all.len(), 2_500);
        let keys: BTreeSet<&str> = all.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys.len(), 2_500);
        assert!(["a", "a/", "a/b"].iter().all(|key| keys.contains(key)));
        let bytes: u64 = all.iter().map(|object| object.bytes).sum();
        assert!((120_000_000..140_000_000).contains(&bytes), "{bytes}");
        let found = all.iter().find(|object| object.key == LARGE_KEY);
        assert_eq!(found.map(|object| object.bytes), Some(12 << 20));
        for object in all.iter().take(40) {
            let made: u64 = object.content().map(|chunk| chunk.len() as u64).sum();
            assert_eq!(made, object.bytes, "{}", object.key);
        }
    }

    #[test]
    fn a_small_scale_keeps_the_odd_ones_and_a_count_of_none_is_none() {
        let all: Vec<_> = planned(2_500, 0.001, 1).collect();
        assert_eq!(all.len(), ODD.len() + LEFT_OUT.len() + 1);
        assert!(
            all.iter()
                .all(|object| object.bytes <= LARGE_AT_SMALL_SCALE)
        );
        let in_parts = all.iter().filter(|object| object.bytes > PART_BYTES);
        let in_parts: Vec<&str> = in_parts.map(|object| object.key.as_str()).collect();
        assert_eq!(in_parts, [LARGE_KEY]);
        assert_eq!(planned(0, 1.0, 1).count(), 0);
    }
}
