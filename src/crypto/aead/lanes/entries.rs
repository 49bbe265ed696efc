//! The entries to a tier's kernels, which are the same in each: functions that have the instruction set switched on, and
//! the door to them that a token opens.

/// Implements `Kernel` for a token. `fours` and `long` are the shared kernels; a tier that has better ones for messages that
/// are alike, or for one message, names its own functions instead. The last two clear registers and stack, behind a batch
/// and behind tags.
macro_rules! entries {
    (
        $token:ty, $tier:literal, $features:literal, $vector:ty, $q:literal,
        $alike:ident, $one:ident, $clear:expr, $clear_deep:expr
    ) => {
        impl Kernel for $token {
            const TIER: &'static str = $tier;

            fn fill(self, table: &mut Table, key: &[u8; KEY_LEN]) {
                // SAFETY: `self` proves the features.
                unsafe { table.fill(key) }
            }

            fn fill_for_tags(self, table: &mut Table, authentication: &[u8; 16], encryption: &[u8; 32]) {
                // SAFETY: `self` proves the features.
                unsafe { table.fill_for_tags(authentication, encryption) }
            }

            fn tags(self, table: &Table, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]) {
                // SAFETY: `self` proves the features.
                unsafe {
                    tag(table, messages, tags_inout);
                    $clear_deep();
                }
            }

            unsafe fn four<const SEAL: bool>(self, table: &Table, messages: [&mut Message<'_>; 4]) -> u32 {
                four::<SEAL>(table, messages)
            }

            unsafe fn alike<const SEAL: bool>(
                self,
                table: &Table,
                messages: &mut [Message<'_>],
                verdicts: &mut [Verdict],
            ) -> usize {
                $alike::<SEAL>(table, messages, verdicts)
            }

            unsafe fn one<const SEAL: bool>(self, table: &Table, message: &mut Message<'_>) -> bool {
                $one::<SEAL>(table, message)
            }

            #[cfg(any(test, feature = "kernels"))]
            unsafe fn fours<const SEAL: bool>(
                self,
                table: &Table,
                messages: &mut [Message<'_>],
                verdicts: &mut [Verdict],
            ) -> usize {
                fours::<SEAL>(table, messages, verdicts)
            }

            #[cfg(any(test, feature = "kernels"))]
            unsafe fn long<const SEAL: bool>(self, table: &Table, message: &mut Message<'_>) -> bool {
                long::<SEAL>(table, message)
            }

            fn clear(self) {
                // SAFETY: `self` proves the features.
                unsafe { $clear() }
            }
        }

        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn tag(table: &Table, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; 16]]) {
            tags::tags::<$vector, $q>(table, messages, tags_inout)
        }

        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn four<const SEAL: bool>(table: &Table, messages: [&mut Message<'_>; 4]) -> u32 {
            four::unlike::<$vector, $q, SEAL>(table, messages)
        }

        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn fours<const SEAL: bool>(
            table: &Table,
            messages: &mut [Message<'_>],
            verdicts: &mut [Verdict],
        ) -> usize {
            four::alike::<$vector, $q, SEAL>(table, messages, verdicts)
        }

        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn long<const SEAL: bool>(table: &Table, message: &mut Message<'_>) -> bool {
            one::one::<$vector, $q, SEAL>(table, message)
        }
    };
}
pub(super) use entries;
