//! INCRBYFLOAT without floats: numbers are whole counts of 10^-17, so a sum is exact and the same on every machine.
//!
//! Redis adds `long double`s and prints `%.17Lf` without trailing zeros; so 17 decimal places are kept here too, further
//! ones are rounded half away from zero. Numbers reach 1.7 * 10^21 (an i128 of these counts); a larger one is not a valid
//! float, a larger sum is infinite. Taken are an optional sign, digits with at most one point, an optional exponent, and
//! `inf`, `infinity`; not taken is what only C takes (hexadecimal, `nan(...)`).

/// What adding came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DecimalSum {
    /// The sum, written as Redis writes it: no exponent, no trailing zeros, no negative zero.
    Number(Vec<u8>),
    /// One of the two texts is not a number.
    NotANumber,
    /// The sum is none.
    Infinite,
}

/// Adds two numbers given as text.
pub(crate) fn add(left: &[u8], right: &[u8]) -> DecimalSum {
    match (parse(left), parse(right)) {
        (None, _) | (_, None) => DecimalSum::NotANumber,
        (Some(Decimal::Infinite), _) | (_, Some(Decimal::Infinite)) => DecimalSum::Infinite,
        (Some(Decimal::Scaled(left)), Some(Decimal::Scaled(right))) => match left.checked_add(right) {
            Some(sum) => DecimalSum::Number(format(sum)),
            None => DecimalSum::Infinite,
        },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decimal {
    /// The number times 10^17.
    Scaled(i128),
    Infinite,
}

/// `None`: not a number, or one out of range.
fn parse(text: &[u8]) -> Option<Decimal> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (is_negative, magnitude) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if magnitude.eq_ignore_ascii_case(b"inf") || magnitude.eq_ignore_ascii_case(b"infinity") {
        return Some(Decimal::Infinite);
    }
    let (mantissa, exponent) = split_exponent(magnitude)?;
    let point = mantissa.iter().position(|&byte| byte == b'.').unwrap_or(mantissa.len());
    let digits: Vec<u8> =
        mantissa.iter().copied().enumerate().filter(|&(at, _)| at != point).map(|(_, byte)| byte).collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let point = i64::try_from(point).expect("a text is at most TEXT_BYTES_MAX long") + i64::from(exponent);
    let scaled = scale(&digits, point)?;
    Some(Decimal::Scaled(if is_negative { -scaled } else { scaled }))
}

/// The text before the exponent, and the exponent (0 if there is none; one beyond all bounds is cut to a bound).
fn split_exponent(magnitude: &[u8]) -> Option<(&[u8], i32)> {
    let Some(at) = magnitude.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e')) else {
        return Some((magnitude, 0));
    };
    let (mantissa, exponent) = (&magnitude[..at], &magnitude[at + 1..]);
    let (is_negative, digits) = match exponent {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, exponent),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let fold = |sum: i32, digit: &u8| (sum * 10 + i32::from(digit - b'0')).min(EXPONENT_MAX);
    let size = digits.iter().fold(0, fold);
    Some((mantissa, if is_negative { -size } else { size }))
}

/// `digits` with the point behind the first `point` of them (which may lie outside), times 10^17, rounded.
fn scale(digits: &[u8], point: i64) -> Option<i128> {
    let leading_zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    let digits = &digits[leading_zeros..];
    if digits.is_empty() {
        return Some(0);
    }
    let whole = point - i64::try_from(leading_zeros).ok()? + PLACES;
    if whole < 0 {
        return Some(0);
    }
    if whole > DIGITS_MAX {
        return None;
    }
    let whole = usize::try_from(whole).ok()?;
    let mut scaled: i128 = 0;
    for at in 0..whole {
        let digit = digits.get(at).map_or(0, |digit| i128::from(digit - b'0'));
        scaled = scaled.checked_mul(10)?.checked_add(digit)?;
    }
    let rounds_up = digits.get(whole).is_some_and(|&digit| digit >= b'5');
    scaled.checked_add(i128::from(rounds_up))
}

fn format(scaled: i128) -> Vec<u8> {
    let magnitude = scaled.unsigned_abs();
    let (whole, fraction) = (magnitude / SCALE, magnitude % SCALE);
    let mut text = String::new();
    if scaled < 0 {
        text.push('-');
    }
    text.push_str(&whole.to_string());
    if fraction != 0 {
        text.push_str(&format!(".{fraction:017}"));
        text.truncate(text.trim_end_matches('0').len());
    }
    text.into_bytes()
}

const PLACES: i64 = 17;
const SCALE: u128 = 10_u128.pow(17);
/// Digits of the largest i128.
const DIGITS_MAX: i64 = 39;
/// Longest text; Redis's own bound on a number (its buffer of 256).
const TEXT_BYTES_MAX: usize = 255;
/// Beyond what [`TEXT_BYTES_MAX`] digits could bring back into range.
const EXPONENT_MAX: i32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn gives(left: &str, right: &str, sum: &str) {
        assert_eq!(
            add(left.as_bytes(), right.as_bytes()),
            DecimalSum::Number(sum.as_bytes().to_vec()),
            "{left} + {right}"
        );
    }

    #[test]
    fn sums_are_written_as_redis_writes_them() {
        gives("0", "1.25", "1.25");
        gives("3.0e3", "200", "3200");
        gives("10.5", "0.1", "10.6");
        gives("1", "-1.1", "-0.1");
        gives("17179869184", "17179869184", "34359738368");
        gives("0.1", "0.2", "0.3");
        gives("5.0e-3", ".5", "0.505");
        gives("5.", "+0", "5");
        gives("-0", "0", "0");
        gives("000123", "0E5", "123");
        gives("1e21", "0", "1000000000000000000000");
        gives("0.00000000000000001", "0", "0.00000000000000001");
    }

    #[test]
    fn a_sum_of_opposites_is_zero_whatever_was_rounded() {
        gives("0.024390243902439025", "-0.024390243902439025", "0");
        gives("0.000000000000000005", "0", "0.00000000000000001");
        gives("0.000000000000000004", "0", "0");
        gives("1e-10000", "0", "0");
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        for text in
            ["", " 1", "1 ", "1.2.3", "abc", "1e", "e5", ".", "-", "+-1", "0x10", "nan", "1\0", "1e99", "--1", "1e+"]
        {
            assert_eq!(add(text.as_bytes(), b"1"), DecimalSum::NotANumber, "{text:?}");
            assert_eq!(add(b"1", text.as_bytes()), DecimalSum::NotANumber, "{text:?}");
        }
        assert_eq!(add(&[b'1'; 256], b"1"), DecimalSum::NotANumber);
        assert_eq!(add(&[b'0'; 255], b"1"), DecimalSum::Number(b"1".to_vec()));
    }

    #[test]
    fn infinity_and_overflow_never_become_a_value() {
        for text in ["inf", "-INF", "+infinity"] {
            assert_eq!(add(text.as_bytes(), b"1"), DecimalSum::Infinite);
        }
        assert_eq!(add(b"1.7e21", b"1.7e21"), DecimalSum::Infinite);
        gives("1.7e21", "-1.7e21", "0");
    }
}
