//! Any message in any version, made of bytes: for tests of what this crate reads and writes, and for fuzzing.

use std::ops::RangeInclusive;

use super::api::ApiKey;
use super::wire::{Uuid, Version};

/// Values made of random bytes, so that fewer bytes make a smaller value: an empty source makes zeros and nothing.
pub struct Source<'a> {
    bytes: &'a [u8],
    /// What texts are likely to be; none: any text is as likely as any other.
    words: &'a [&'a str],
}

impl<'a> Source<'a> {
    /// Any values.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Source<'a> {
        Source { bytes, words: &[] }
    }

    /// Values that mean something: mostly small numbers, and texts among these.
    #[must_use]
    pub fn likely(bytes: &'a [u8], words: &'a [&'a str]) -> Source<'a> {
        Source { bytes, words }
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// Mostly short; at times longer than a varint of one byte can say.
    fn len(&mut self) -> usize {
        match self.byte() {
            255 => 130,
            byte => usize::from(byte % 4),
        }
    }
}

/// A random value that a version can carry.
pub trait Sample<'a>: Sized {
    fn sample(source: &mut Source<'a>, at: Version) -> Self;
}

/// A random request or response.
pub trait SampleApi<'a>: Sized {
    fn sample(key: ApiKey, source: &mut Source<'a>, version: i16) -> Self;
    /// Versions that can be read and written, and the first flexible one.
    fn known(key: ApiKey) -> (RangeInclusive<i16>, i16);
}

/// A value, or none where there may be none.
pub fn sample_option<'a, T: Sample<'a>>(source: &mut Source<'a>, at: Version, nullable: bool) -> Option<T> {
    (!nullable || source.byte() % 2 == 1).then(|| T::sample(source, at))
}

impl<'a, T: Sample<'a>> Sample<'a> for Option<T> {
    fn sample(source: &mut Source<'a>, at: Version) -> Self {
        sample_option(source, at, true)
    }
}

impl<'a, T: Sample<'a>> Sample<'a> for Vec<T> {
    fn sample(source: &mut Source<'a>, at: Version) -> Self {
        (0..source.len()).map(|_| T::sample(source, at)).collect()
    }
}

macro_rules! sample_integers {
    ($($kind:ident)*) => {$(
        impl<'a> Sample<'a> for $kind {
            fn sample(source: &mut Source<'a>, _: Version) -> Self {
                if source.words.is_empty() {
                    return $kind::from_be_bytes(source.array());
                }
                match source.byte().cast_signed() {
                    i8::MIN => $kind::from_be_bytes(source.array()),
                    small => $kind::from(small),
                }
            }
        }
    )*};
}
sample_integers!(i8 i16 i32 i64);

impl<'a> Sample<'a> for u16 {
    fn sample(source: &mut Source<'a>, at: Version) -> Self {
        i16::sample(source, at).cast_unsigned()
    }
}

impl<'a> Sample<'a> for bool {
    fn sample(source: &mut Source<'a>, _: Version) -> Self {
        source.byte() % 2 == 1
    }
}

impl<'a> Sample<'a> for Uuid {
    fn sample(source: &mut Source<'a>, _: Version) -> Self {
        source.array()
    }
}

impl<'a> Sample<'a> for &'a [u8] {
    fn sample(source: &mut Source<'a>, _: Version) -> Self {
        let len = source.len();
        source.take(len)
    }
}

impl<'a> Sample<'a> for &'a str {
    fn sample(source: &mut Source<'a>, _: Version) -> Self {
        const TEXT: &str = "topic-1 группа 主题 \u{1f980} 0123456789 abcdefghijklmnopqrstuvwxyz \
            0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz end";
        let byte = usize::from(source.byte());
        if let Some(word) = source.words.get(byte) {
            return word;
        }
        let from = TEXT.floor_char_boundary(byte % 20);
        &TEXT[from..TEXT.floor_char_boundary(from + source.len() * 2)]
    }
}
