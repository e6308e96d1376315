//! Kubernetes quantities such as `5m`, `16Mi`, `1.5` and `2e3`: validation and comparison.

/// The value in thousandths; `None` for anything but a quantity above zero.
pub(crate) fn parse(text: &str) -> Option<u128> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    // At most 36 digits, so that neither the power nor the number overflows.
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u128 = format!("0{whole}{fraction}").parse().ok()?;
    let milli = digits.checked_mul(multiplier(suffix)?)?.checked_div(scale)?;
    (milli > 0).then_some(milli)
}

fn decimal(exponent: u32) -> u128 {
    1000 * 10u128.pow(exponent)
}

fn binary(exponent: u32) -> u128 {
    1000 << (10 * exponent)
}

/// The unit in thousandths. Nano and micro count as one thousandth, which is precise enough for a comparison with a limit.
fn multiplier(suffix: &str) -> Option<u128> {
    Some(match suffix {
        "n" | "u" | "m" => 1,
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            decimal(exponent.parse().ok().filter(|exponent| *exponent <= 18)?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_compare_by_value_and_anything_else_is_invalid() {
        for (small, large) in [("5m", "1"), ("16Mi", "64Mi"), ("1000Ki", "1Mi"), ("0.5", "1"), ("1", "1e3")] {
            assert!(parse(small).unwrap() < parse(large).unwrap(), "{small} {large}");
        }
        assert_eq!(parse("1.5"), parse("1500m"));
        assert_eq!(parse("1Gi"), parse("1024Mi"));
        for bad in ["", "0", "-1", "5mm", "1.2.3", "Mi", ".", "5 m", "1e", "1e99", "9999999999999999999"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
