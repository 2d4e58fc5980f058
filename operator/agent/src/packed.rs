//! Texts as they go through a Kubernetes Secret, which holds a megabyte: packed, for a broker may have hundreds of links whose
//! lines are much alike.

use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// More than any configuration: what is longer is none of ours.
const LONGEST: u64 = 256 << 20;

/// The key under which a file's content stands packed.
#[must_use]
pub fn key(file: &str) -> String {
    format!("{file}.gz")
}

/// Packs a text, always to the same bytes.
///
/// # Errors
/// Never, in truth: memory takes whatever is written.
pub fn pack(text: &str) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes())?;
    packed.finish()
}

/// The text that was packed.
///
/// # Errors
/// If it is not what [`pack`] makes.
pub fn unpack(packed: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    GzDecoder::new(packed).take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_back_and_much_shorter_if_it_is_long() {
        let text = "connection b0001\naddress b0001.plant:1883\ntopic farm/# in 1\n".repeat(1000);
        let packed = pack(&text).unwrap();
        assert_eq!(unpack(&packed).unwrap(), text);
        assert_eq!(pack(&text).unwrap(), packed);
        assert!(
            packed.len() * 8 < text.len(),
            "{} of {}",
            packed.len(),
            text.len()
        );
    }

    #[test]
    fn what_is_none_is_said_to_be_none() {
        assert!(unpack(b"{}").is_err());
        assert!(unpack(b"").is_err());
        let packed = pack("listener 1883").unwrap();
        assert!(unpack(&packed[..packed.len() - 4]).is_err());
    }
}
