//! How a message is described: its fields in the order of the wire, each with the versions that have it.
//!
//! ```text
//! messages! {
//!     Request<'a> (3..=13, flexible 9) {                   versions known; the first with compact lengths and tags
//!         acks: i16,                                       in every version
//!         rack: Option<&'a str> [1..],                     from version 1 on, and may be null
//!         topics: Option<Vec<Topic<'a>>> [.., nullable 2..],   in every version, null only from 2 on
//!         leader: Leader [10.., tag 0],                    tagged: written only where it differs from its default
//!         timeout_ms: i32 = 60000,                         its default, 0 otherwise
//!     }
//!     Topic<'a> { .. }                                     part of a message: knows the versions of what it stands in
//! }
//! ```
//!
//! A field that a version lacks is read as its default and not written.

use std::ops::RangeInclusive;

use super::wire::{DecodeError, Reader, Version, Wire};

/// A request or a response, whole.
pub trait Message<'a>: Wire<'a> {
    /// Versions that can be read and written.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE: i16;

    /// How values lie on the wire in this version.
    #[must_use]
    fn version(number: i16) -> Version {
        Version { number, flexible: number >= Self::FLEXIBLE }
    }

    /// Read it. What follows in the reader is none of its business, and Kafka ignores it.
    ///
    /// # Errors
    /// [`DecodeError`] where the version is not known or the bytes are malformed.
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(DecodeError::Version(version));
        }
        Self::read(reader, Self::version(version))
    }

    /// Append it.
    fn encode(&self, out: &mut Vec<u8>, version: i16) {
        self.put(out, Self::version(version));
    }
}

/// Define messages and their parts; the file's head shows how.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? $(($($versions:tt)*))? { $($fields:tt)* }
    )*) => {$(
        $crate::codec::message::structure! { $(#[$doc])* $name $(<$life>)? { $($fields)* } }
        $crate::codec::message::whole! { $name $(<$life>)? $(($($versions)*))? }
    )*};
}

/// A structure that is a whole message says its versions.
macro_rules! whole {
    ($name:ident $(<$life:lifetime>)?) => {};
    ($name:ident $(<$life:lifetime>)? ($versions:expr)) => {
        $crate::codec::message::whole! { $name $(<$life>)? ($versions, flexible i16::MAX) }
    };
    ($name:ident $(<$life:lifetime>)? ($versions:expr, flexible $flexible:expr)) => {
        impl<'a> $crate::codec::message::Message<'a> for $name $(<$life>)? {
            const VERSIONS: std::ops::RangeInclusive<i16> = $versions;
            const FLEXIBLE: i16 = $flexible;
        }
    };
}

macro_rules! structure {
    (
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {$(
            $(#[$field_doc:meta])*
            $field:ident: $kind:ty $([$present:expr $(, nullable $nullable:expr)? $(, tag $tag:literal)?])? $(= $default:expr)?
        ),* $(,)?}
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name $(<$life>)? {
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl $(<$life>)? Default for $name $(<$life>)? {
            fn default() -> Self {
                $name { $($field: $crate::codec::message::field!(default $($default)?),)* }
            }
        }

        #[allow(unused_variables, unused_mut, reason = "not every structure has fields of every kind")]
        impl $(<$life>)? $name $(<$life>)? {
            /// Append the fields that have no tag.
            pub fn put_fields(&self, out: &mut Vec<u8>, at: $crate::codec::wire::Version) {
                $($crate::codec::message::field!(put self.$field, out, at $(, $present $(, nullable $nullable)? $(, tag $tag)?)?);)*
            }

            /// Append the fields that have a tag, as the end of the structure.
            pub fn put_tags(&self, out: &mut Vec<u8>, at: $crate::codec::wire::Version) {
                if at.flexible {
                    let default = Self::default();
                    let mut count = 0;
                    $($crate::codec::message::field!(count self.$field, default.$field, count, at
                        $(, $present $(, nullable $nullable)? $(, tag $tag)?)?);)*
                    $crate::codec::wire::put_uvarint(out, count);
                    $($crate::codec::message::field!(put_tag self.$field, default.$field, out, at
                        $(, $present $(, nullable $nullable)? $(, tag $tag)?)?);)*
                }
            }
        }

        #[allow(unused_variables, unused_mut, reason = "not every structure has fields of every kind")]
        impl<'a> $crate::codec::wire::Wire<'a> for $name $(<$life>)? {
            fn smallest(at: $crate::codec::wire::Version) -> usize {
                let mut size = usize::from(at.flexible);
                $($crate::codec::message::field!(smallest $kind, size, at
                    $(, $present $(, nullable $nullable)? $(, tag $tag)?)?);)*
                size
            }

            fn read(
                reader: &mut $crate::codec::wire::Reader<'a>,
                at: $crate::codec::wire::Version,
            ) -> Result<Self, $crate::codec::wire::DecodeError> {
                let mut this = Self::default();
                $($crate::codec::message::field!(take this.$field, reader, at
                    $(, $present $(, nullable $nullable)? $(, tag $tag)?)?);)*
                if at.flexible {
                    for _ in 0..reader.uvarint()? {
                        let (tag, value) = reader.tagged()?;
                        $($crate::codec::message::field!(take_tag this.$field, tag, value, at
                            $(, $present $(, nullable $nullable)? $(, tag $tag)?)?);)*
                    }
                }
                Ok(this)
            }

            fn put(&self, out: &mut Vec<u8>, at: $crate::codec::wire::Version) {
                self.put_fields(out, at);
                self.put_tags(out, at);
            }
        }

        /// Behind a byte that is -1 for null and 1 otherwise.
        impl<'a> $crate::codec::wire::Nullable<'a> for $name $(<$life>)? {
            fn null_len(_: $crate::codec::wire::Version) -> usize {
                1
            }

            fn read_nullable(
                reader: &mut $crate::codec::wire::Reader<'a>,
                at: $crate::codec::wire::Version,
            ) -> Result<Option<Self>, $crate::codec::wire::DecodeError> {
                let here = <i8 as $crate::codec::wire::Wire>::read(reader, at)? >= 0;
                here.then(|| <Self as $crate::codec::wire::Wire>::read(reader, at)).transpose()
            }

            fn put_nullable(value: Option<&Self>, out: &mut Vec<u8>, at: $crate::codec::wire::Version) {
                <i8 as $crate::codec::wire::Wire>::put(&if value.is_some() { 1 } else { -1 }, out, at);
                if let Some(value) = value {
                    <Self as $crate::codec::wire::Wire>::put(value, out, at);
                }
            }
        }

        #[cfg(any(test, feature = "sample"))]
        #[allow(unused_variables, reason = "not every structure has fields")]
        impl<'a> $crate::codec::sample::Sample<'a> for $name $(<$life>)? {
            fn sample(source: &mut $crate::codec::sample::Source<'a>, at: $crate::codec::wire::Version) -> Self {
                let mut this = Self::default();
                $($crate::codec::message::field!(sample this.$field, source, at
                    $(, $present $(, nullable $nullable)? $(, tag $tag)?)?);)*
                this
            }
        }
    };
}

/// What one field adds to each of a structure's functions, by its versions and whether it has a tag.
macro_rules! field {
    (default) => {
        Default::default()
    };
    (default $default:expr) => {
        $default
    };

    (put $place:expr, $out:ident, $at:ident) => {
        $crate::codec::wire::Wire::put(&$place, $out, $at)
    };
    (put $place:expr, $out:ident, $at:ident, $present:expr) => {
        if $at.within(&($present)) {
            $crate::codec::wire::Wire::put(&$place, $out, $at);
        }
    };
    (put $place:expr, $out:ident, $at:ident, $present:expr, nullable $nullable:expr) => {
        if $at.within(&($present)) {
            $crate::codec::wire::put_option($place.as_ref(), $out, $at, $at.within(&($nullable)));
        }
    };
    (put $place:expr, $out:ident, $at:ident, $present:expr, tag $tag:literal) => {};

    (count $place:expr, $default:expr, $count:ident, $at:ident, $present:expr, tag $tag:literal) => {
        $count += u32::from($at.within(&($present)) && $place != $default);
    };
    (count $($other:tt)*) => {};

    (put_tag $place:expr, $default:expr, $out:ident, $at:ident, $present:expr, tag $tag:literal) => {
        if $at.within(&($present)) && $place != $default {
            $crate::codec::wire::put_tagged($out, $at, $tag, &$place);
        }
    };
    (put_tag $($other:tt)*) => {};

    (smallest $kind:ty, $size:ident, $at:ident) => {
        $size += <$kind as $crate::codec::wire::Wire>::smallest($at)
    };
    (smallest $kind:ty, $size:ident, $at:ident, $present:expr, tag $tag:literal) => {};
    (smallest $kind:ty, $size:ident, $at:ident, $present:expr $(, nullable $nullable:expr)?) => {
        if $at.within(&($present)) {
            $size += <$kind as $crate::codec::wire::Wire>::smallest($at);
        }
    };

    (take $place:expr, $reader:ident, $at:ident) => {
        $place = $crate::codec::wire::Wire::read($reader, $at)?
    };
    (take $place:expr, $reader:ident, $at:ident, $present:expr) => {
        if $at.within(&($present)) {
            $place = $crate::codec::wire::Wire::read($reader, $at)?;
        }
    };
    (take $place:expr, $reader:ident, $at:ident, $present:expr, nullable $nullable:expr) => {
        if $at.within(&($present)) {
            $place = $crate::codec::wire::read_option($reader, $at, $at.within(&($nullable)))?;
        }
    };
    (take $place:expr, $reader:ident, $at:ident, $present:expr, tag $tag:literal) => {};

    (take_tag $place:expr, $found:ident, $value:ident, $at:ident, $present:expr, tag $tag:literal) => {
        if $found == $tag && $at.within(&($present)) {
            $place = $value.whole($at)?;
        }
    };
    (take_tag $($other:tt)*) => {};

    (sample $place:expr, $source:ident, $at:ident) => {
        $place = $crate::codec::sample::Sample::sample($source, $at)
    };
    (sample $place:expr, $source:ident, $at:ident, $present:expr, nullable $nullable:expr) => {
        if $at.within(&($present)) {
            $place = $crate::codec::sample::sample_option($source, $at, $at.within(&($nullable)));
        }
    };
    (sample $place:expr, $source:ident, $at:ident, $present:expr $(, tag $tag:literal)?) => {
        if $at.within(&($present)) {
            $place = $crate::codec::sample::Sample::sample($source, $at);
        }
    };
}

pub(crate) use {field, messages, structure, whole};
