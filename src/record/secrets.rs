//! Secrets that are known by their form.
//!
//! Each has *anchors*, fixed strings that one search over a whole line looks for together, and a regular expression
//! that is tried only where an anchor was found. A line without anchors, which is nearly every line, costs one pass.
//!
//! Patterns see *escaped* text: a line feed is the two characters `\n`, a quote is `\"`.

/// One form of secret.
pub(super) struct Secret {
    /// Stands in the mark: `[REDACTED:kind]`.
    pub kind: &'static str,
    pub anchors: &'static [&'static str],
    /// Tried from the anchor on. Its first group, or all of it if it has none, is replaced.
    ///
    /// A pattern that does not match has to fail within a bounded distance, or before the next of its anchors: what lies
    /// behind would be read for each anchor again, and a line of nothing but anchors would cost the square of its length.
    pub pattern: &'static str,
    /// May the anchor stand within a word? `task-…` must not be taken for `sk-…`.
    pub inside: bool,
    /// The pattern is tried from the start of the word in which the anchor stands.
    pub back: bool,
    /// What the pattern cannot say about the text to be replaced, which comes with the text before it.
    pub check: fn(&str, &str) -> bool,
}

const fn token(kind: &'static str, anchors: &'static [&'static str], pattern: &'static str) -> Secret {
    Secret {
        kind,
        anchors,
        pattern,
        inside: false,
        back: false,
        check: any,
    }
}

const fn inside(
    kind: &'static str,
    anchors: &'static [&'static str],
    pattern: &'static str,
    check: fn(&str, &str) -> bool,
) -> Secret {
    Secret {
        kind,
        anchors,
        pattern,
        inside: true,
        back: false,
        check,
    }
}

pub(super) const SECRETS: &[Secret] = &[
    token("aws_access_key", &["AKIA", "ASIA"], r"^A[KS]IA[0-9A-Z]{16}\b"),
    inside(
        "aws_secret_key",
        &["ecret_access_key", "ECRET_ACCESS_KEY", "ecretAccessKey"],
        r#"^(?i)ecret_?access_?key(?:[\s\\"']*[:=][\s\\"']*|\s+)([A-Za-z0-9/+=]{40})"#,
        any,
    ),
    token(
        "github_token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"],
        r"^(?:gh[pousr]_[0-9A-Za-z]{20,}|github_pat_[0-9A-Za-z_]{20,})",
    ),
    token(
        "gitlab_token",
        &["glpat-", "gldt-", "glrt-"],
        r"^gl(?:pat|dt|rt)-[0-9A-Za-z_.-]{20,}",
    ),
    token(
        "slack_token",
        &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xapp-"],
        r"^x(?:ox[bparse]|app)-[0-9A-Za-z-]{14,}",
    ),
    inside(
        "slack_webhook",
        &["hooks.slack.com/"],
        r"^hooks\.slack\.com/(?:services|workflows|triggers)/([0-9A-Za-z/_-]{20,})",
        any,
    ),
    // OpenAI (sk-, sk-proj-, sk-svcacct-), Anthropic (sk-ant-), OpenRouter (sk-or-) and others that follow them.
    Secret {
        kind: "api_key",
        anchors: &["sk-"],
        // A few words at most: each anchor of `sk-sk-sk-…` would be followed to the end otherwise.
        pattern: r"^sk-(?:[a-z]+[0-9]*-){0,4}[0-9A-Za-z_]{16,}[0-9A-Za-z_-]*",
        inside: false,
        back: false,
        check: random,
    },
    token(
        "api_key",
        &["gsk_", "xai-", "pplx-", "tvly-", "r8_", "lsv2_"],
        r"^(?:gsk_|xai-|pplx-|tvly-|r8_|lsv2_[a-z]+_)[0-9A-Za-z_-]{20,}",
    ),
    token(
        "google_key",
        &["AIza", "GOCSPX-"],
        r"^(?:AIza[0-9A-Za-z_-]{35}|GOCSPX-[0-9A-Za-z_-]{20,})",
    ),
    token("google_token", &["ya29."], r"^ya29\.[0-9A-Za-z_-]{20,}"),
    // The second part begins like the first.
    Secret {
        kind: "jwt",
        anchors: &[".eyJ"],
        pattern: r"^eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*",
        inside: false,
        back: true,
        check: any,
    },
    inside(
        "bearer",
        &["earer ", "EARER "],
        r"^(?i)earer +([0-9A-Za-z._~+/-]{8,}=*)",
        bearer,
    ),
    inside(
        "basic_auth",
        &["asic ", "ASIC "],
        r"^(?i)asic +([0-9A-Za-z+/]{8,}={0,2})",
        user_and_password,
    ),
    inside(
        "private_key",
        &["-----BEGIN "],
        r"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:.*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|.*)",
        any,
    ),
    inside(
        "url_password",
        &["://"],
        r#"^://[^\s/?\#@:"'<>\\]*:([^\s/?\#@"'<>\\]+)@"#,
        any,
    ),
    token("npm_token", &["npm_"], r"^npm_[0-9A-Za-z]{30,}"),
    token("pypi_token", &["pypi-"], r"^pypi-[0-9A-Za-z_-]{40,}"),
    token("huggingface_token", &["hf_"], r"^hf_[0-9A-Za-z]{30,}"),
    token(
        "stripe_key",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"],
        r"^(?:[sr]k_(?:live|test)|whsec)_[0-9A-Za-z]{16,}",
    ),
    token("sendgrid_key", &["SG."], r"^SG\.[0-9A-Za-z_-]{16,}\.[0-9A-Za-z_-]{16,}"),
    token(
        "digitalocean_token",
        &["dop_v1_", "doo_v1_"],
        r"^do[po]_v1_[0-9a-f]{40,}",
    ),
    inside(
        "azure_key",
        &["AccountKey="],
        r"^AccountKey=([0-9A-Za-z+/]{40,}={0,2})",
        any,
    ),
    token("vault_token", &["hvs."], r"^hvs\.[0-9A-Za-z_-]{20,}"),
    token("shopify_token", &["shpat_", "shpss_"], r"^shp(?:at|ss)_[0-9a-fA-F]{32}"),
];

/// Escapes of characters that need none: JSON allows them, no common writer makes them, and they would hide a secret.
pub(super) const HIDING: &[&str] = &[":\\/\\/", "\\u002", "\\u003", "\\u004", "\\u005", "\\u006", "\\u007"];

fn any(_: &str, _: &str) -> bool {
    true
}

/// Prose behind `Bearer` has no digits, and its words are short.
fn random(_: &str, token: &str) -> bool {
    token.len() >= 40 || token.bytes().any(|b| b.is_ascii_digit())
}

/// As `random`. One long word is no prose either, and behind the header's name nothing is.
fn bearer(before: &str, token: &str) -> bool {
    let word = || token.len() >= 20 && token.bytes().all(|b| b.is_ascii_alphanumeric());
    random(before, token) || word() || {
        let near = before.get(super::text::floor(before, before.len().saturating_sub(HEADER.len() + 16))..);
        near.is_some_and(|n| n.to_ascii_lowercase().contains(HEADER))
    }
}

/// Stands before a bearer token, with little between them.
const HEADER: &str = "authorization";

/// `user:password` in base64.
fn user_and_password(_: &str, token: &str) -> bool {
    use base64::Engine as _;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    engine
        .decode(token)
        .is_ok_and(|plain| plain.contains(&b':') && plain.iter().all(|b| *b >= 0x20))
}
