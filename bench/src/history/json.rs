//! A naive reading of JSON for the checker, which takes nothing from the programs that it checks: no parser, no types, no codes.

/// A value as it stands there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// As written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    /// In the order written.
    Object(Vec<(String, Json)>),
}

static NULL: Json = Json::Null;

impl Json {
    /// Reads one value; nothing may follow it. `None` if this is no JSON.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0, depth: 0 };
        let value = reader.value()?;
        reader.blanks();
        (reader.at == reader.bytes.len()).then_some(value)
    }

    /// The member at this path of names, such as `position.index`; null if there is none.
    pub(crate) fn at(&self, path: &str) -> &Self {
        path.split('.').fold(self, |value, name| match value {
            Self::Object(members) => members.iter().find(|(own, _)| own == name).map_or(&NULL, |(_, value)| value),
            _ => &NULL,
        })
    }

    /// The text, or nothing.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// A number that is not negative.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The members of a list; nothing if it is none.
    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        self.blanks();
        (self.bytes.get(self.at) == Some(&wanted)).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self) -> Option<Json> {
        self.blanks();
        self.depth += 1;
        if self.depth > 64 {
            return None;
        }
        let value = match self.bytes.get(self.at)? {
            b'n' => self.word("null", Json::Null),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => self.members(b']', Self::value).map(Json::List),
            b'{' => self.members(b'}', Self::member).map(Json::Object),
            _ => self.digits(),
        };
        self.depth -= 1;
        value
    }

    fn members<T>(&mut self, end: u8, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        let mut members = Vec::new();
        if self.take(end).is_some() {
            return Some(members);
        }
        loop {
            members.push(one(self)?);
            if self.take(end).is_some() {
                return Some(members);
            }
            self.take(b',')?;
        }
    }

    fn member(&mut self) -> Option<(String, Json)> {
        self.blanks();
        let name = self.string()?;
        self.take(b':')?;
        Some((name, self.value()?))
    }

    fn digits(&mut self) -> Option<Json> {
        let from = self.at;
        while self.bytes.get(self.at).is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[from..self.at]).ok()?;
        text.parse::<f64>().ok()?;
        Some(Json::Number(text.to_owned()))
    }

    fn string(&mut self) -> Option<String> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return String::from_utf8(bytes).ok();
                }
                b'\\' => {
                    let escaped = *self.bytes.get(self.at + 1)?;
                    self.at += 2;
                    match escaped {
                        b'n' => bytes.push(b'\n'),
                        b't' => bytes.push(b'\t'),
                        b'r' => bytes.push(b'\r'),
                        b'b' => bytes.push(8),
                        b'f' => bytes.push(12),
                        b'u' => {
                            let digits = self.bytes.get(self.at..self.at + 4)?;
                            let code = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
                            self.at += 4;
                            // Halves of a pair never stand in what is compared here.
                            let letter = char::from_u32(code).unwrap_or('\u{fffd}');
                            bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                        }
                        other => bytes.push(other),
                    }
                }
                byte => {
                    bytes.push(byte);
                    self.at += 1;
                }
            }
        }
    }
}

/// Base64url without padding, as bytes; `None` if it is not that.
pub(crate) fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn json_is_read_by_path_and_what_is_none_is_refused() {
        let value = Json::read(r#" {"a":{"b":[1,"x\n\u0041",true,null,-2.5e3]},"c":18446744073709551615} "#).unwrap();
        assert_eq!(value.at("a.b").list().len(), 5);
        assert_eq!(value.at("a.b").list()[1].text(), "x\nA");
        assert_eq!(value.at("c").number(), Some(u64::MAX));
        assert_eq!(value.at("a.none").text(), "");
        for wrong in ["", "{", "{\"a\" 1}", "[1,]", "tru", "1 2", "\"open"] {
            assert_eq!(Json::read(wrong), None, "{wrong}");
        }
        assert_eq!(Json::read(&"[".repeat(100)), None);
    }

    #[test]
    fn base64url_is_read() {
        assert_eq!(base64url("aGk_").unwrap(), b"hi?");
        assert_eq!(base64url("aGk").unwrap(), b"hi");
        assert_eq!(base64url("a b"), None);
    }
}
