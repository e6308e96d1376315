//! The digests of CouchDB's wire formats: MD5 (revisions), CRC-32 (shard ranges), HMAC and PBKDF2 (passwords, session
//! cookies).

use std::num::NonZeroU32;

use ring::hmac;

/// Encodes bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Decodes a hex string; `None` if it is not one.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

/// HMAC with SHA-256 (RFC 2104).
pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// PBKDF2: 20 bytes with HMAC-SHA-1, 32 with HMAC-SHA-256.
pub(crate) fn pbkdf2(prf: Prf, password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
    let (algorithm, length) = match prf {
        Prf::Sha1 => (ring::pbkdf2::PBKDF2_HMAC_SHA1, 20),
        Prf::Sha256 => (ring::pbkdf2::PBKDF2_HMAC_SHA256, 32),
    };
    let mut derived = vec![0; length];
    ring::pbkdf2::derive(algorithm, iterations, salt, password, &mut derived);
    derived
}

/// The pseudo-random function of a password hash; CouchDB's `pbkdf2_prf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prf {
    /// `-pbkdf2-`: written by releases before 3.4, accepted by all.
    Sha1,
    /// `-pbkdf2:sha256-`: written since 3.4. Earlier releases treat such a line as a password in clear text.
    Sha256,
}

/// CRC-32 (IEEE). mem3 uses it to assign a document to a shard range.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ (0xedb8_8320 & (c & 1).wrapping_neg()))
    })
}

/// MD5 (RFC 1321), the digest in CouchDB's revisions.
pub(crate) fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let table: Vec<u32> = (1..=64_u32).map(|i| (f64::from(i).sin().abs() * 4_294_967_296.0) as u32).collect();
    // Padding: a set bit, zeros, and the length in bits in the last 8 bytes of a block of 64.
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if message.len() % 64 >= 56 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(message.len() as u64 * 8).to_le_bytes());

    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mix, index) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let word = u32::from_le_bytes([0, 1, 2, 3].map(|j| block[4 * index + j]));
            let sum = a.wrapping_add(mix).wrapping_add(table[i]).wrapping_add(word);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        state = [
            state[0].wrapping_add(a),
            state[1].wrapping_add(b),
            state[2].wrapping_add(c),
            state[3].wrapping_add(d),
        ];
    }
    let mut digest = [0; 16];
    digest.chunks_exact_mut(4).zip(state).for_each(|(out, word)| out.copy_from_slice(&word.to_le_bytes()));
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        assert_eq!(hex(&md5(b"")), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(
            hex(&md5(b"12345678901234567890123456789012345678901234567890123456789012345678901234567890")),
            "57edf4a22be3c955ac49da2e2107b67a"
        );
        for (length, digest) in
            [(55, "ef1772b6dff9a122358552954ad0df65"), (56, "3b0c8ac703f828b04c6c197006d17218")]
        {
            assert_eq!(hex(&md5(&vec![b'a'; length])), digest, "{length}");
        }
        assert_eq!(crc32(b"doc1"), 0xc985_0b0b);
        // RFC 4231, case 2.
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // RFC 7914, section 11, its first 32 bytes.
        assert_eq!(
            hex(&pbkdf2(Prf::Sha256, b"passwd", b"salt", NonZeroU32::MIN)),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        );
        assert_eq!(unhex("00ff"), Some(vec![0, 255]));
        assert_eq!(unhex("0g"), None);
    }
}
