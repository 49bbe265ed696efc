//! One macro: how a type shows itself in a debugger or a failed assertion without showing what is inside.

/// `Debug` that shows the fields named here and nothing else, so that no key, plaintext or thread handle gets into it
/// (NO-SECRETS-OUT): `debug_fields!(self: Hook { cutover: self.cutover.load() });`
macro_rules! debug_fields {
    ($self:ident: $name:ident $(<$lifetime:lifetime>)? { $($field:ident: $value:expr),* $(,)? }) => {
        impl std::fmt::Debug for $name $(<$lifetime>)? {
            fn fmt(&$self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &$value))*.finish_non_exhaustive()
            }
        }
    };
}
