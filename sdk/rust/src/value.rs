//! Reads a plugin's configuration, which is JSON text (RFC 8259), without
//! allocating: a value is the part of the text that spells it, and is read again
//! by whoever asks for what is in it. Whether a key is known and a value makes
//! sense is the plugin's to say.
//!
//! ```
//! let table = souk::value::parse(r#"{"while_held": "nothing"}"#).unwrap();
//! for (key, value) in table.entries() {
//!     assert!(key.is("while_held") && value.is("nothing"));
//! }
//! ```

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    Text,
    List,
    Table,
}

/// A value, as it is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a str);

/// The text is no JSON, and this is the byte at which that shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub usize);

/// Lists and tables within each other beyond this are malformed.
pub const MAX_DEPTH: usize = 64;

/// Reads one value, which is all of the text.
pub fn parse(json: &str) -> Result<Value<'_>, Malformed> {
    let mut s = Scanner { b: json.as_bytes(), at: 0 };
    s.space();
    let from = s.at;
    s.value(0)?;
    let to = s.at;
    s.space();
    if s.at < s.b.len() {
        return Err(Malformed(s.at));
    }
    Ok(Value(json.get(from..to).unwrap_or("")))
}

impl<'a> Value<'a> {
    /// The JSON text of the value, which is also how to show it to a person.
    pub fn spelling(self) -> &'a str {
        self.0
    }

    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Table,
            Some(b'[') => Kind::List,
            Some(b'"') => Kind::Text,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Says whether the value is this text.
    pub fn is(self, text: &str) -> bool {
        self.kind() == Kind::Text && self.chars().eq(text.chars())
    }

    /// The characters of a text, none of another value; half a pair is U+FFFD.
    pub fn chars(self) -> Chars<'a> {
        Chars(if self.kind() == Kind::Text { self.0.get(1..self.0.len() - 1).unwrap_or("").chars() } else { "".chars() })
    }

    pub fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A number without fraction and exponent.
    pub fn whole(self) -> Option<i64> {
        if self.kind() == Kind::Number { self.0.parse().ok() } else { None }
    }

    /// The values of a list, none of another value.
    pub fn items(self) -> impl Iterator<Item = Value<'a>> {
        Parts::of(self, Kind::List)
    }

    /// The keys of a table, which are texts, and their values, in the order of the
    /// file; none of another value. A key that stands there twice comes twice.
    pub fn entries(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let mut parts = Parts::of(self, Kind::Table);
        core::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }
}

/// What is between the brackets of a list or a table.
struct Parts<'a> {
    text: &'a str,
    s: Scanner<'a>,
}

impl<'a> Parts<'a> {
    fn of(v: Value<'a>, kind: Kind) -> Self {
        let text = if v.kind() == kind { v.0.get(1..v.0.len() - 1).unwrap_or("") } else { "" };
        Parts { text, s: Scanner { b: text.as_bytes(), at: 0 } }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        while let b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' = self.s.peek() {
            self.s.at += 1;
        }
        let from = self.s.at;
        self.s.value(0).ok()?;
        self.text.get(from..self.s.at).map(Value)
    }
}

/// See [`Value::chars`].
#[derive(Clone, Debug)]
pub struct Chars<'a>(core::str::Chars<'a>);

impl Chars<'_> {
    fn unit(&mut self) -> u32 {
        (0..4).fold(0, |n, _| n << 4 | self.0.next().and_then(|c| c.to_digit(16)).unwrap_or(0))
    }
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = self.0.next()?;
        if c != '\\' {
            return Some(c);
        }
        Some(match self.0.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.unit();
                let mut after = self.clone();
                if let (0xd800..=0xdbff, Some('\\'), Some('u')) = (first, after.0.next(), after.0.next()) {
                    let second = after.unit();
                    if let 0xdc00..=0xdfff = second {
                        *self = after;
                        let n = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return char::from_u32(n);
                    }
                }
                char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            itself => itself,
        })
    }
}

/// Finds where values end.
struct Scanner<'a> {
    b: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// The next byte; 0, which JSON has nowhere, at the end.
    fn peek(&self) -> u8 {
        self.b.get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while let b' ' | b'\t' | b'\n' | b'\r' = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, c: u8) -> Result<(), Malformed> {
        if self.peek() != c {
            return Err(Malformed(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), Malformed> {
        match self.peek() {
            _ if depth > MAX_DEPTH => Err(Malformed(self.at)),
            b'{' => self.parts(b'}', depth),
            b'[' => self.parts(b']', depth),
            b'"' => self.text(),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Malformed> {
        word.iter().try_for_each(|c| self.take(*c))
    }

    fn parts(&mut self, end: u8, depth: usize) -> Result<(), Malformed> {
        self.at += 1;
        self.space();
        if self.peek() == end {
            return self.take(end);
        }
        loop {
            self.space();
            if end == b'}' {
                self.text()?;
                self.space();
                self.take(b':')?;
                self.space();
            }
            self.value(depth + 1)?;
            self.space();
            if self.peek() != b',' {
                return self.take(end);
            }
            self.at += 1;
        }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        if !self.peek().is_ascii_digit() {
            return Err(Malformed(self.at));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    // RFC 8259 §6.
    fn number(&mut self) -> Result<(), Malformed> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1; // a leading zero stands alone
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.peek() {
            self.at += 1;
            if let b'+' | b'-' = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    // RFC 8259 §7.
    fn text(&mut self) -> Result<(), Malformed> {
        self.take(b'"')?;
        loop {
            match self.peek() {
                b'"' => return self.take(b'"'),
                b'\\' => {
                    self.at += 1;
                    match self.peek() {
                        b'u' => {
                            for _ in 0..4 {
                                self.at += 1;
                                if !self.peek().is_ascii_hexdigit() {
                                    return Err(Malformed(self.at));
                                }
                            }
                        }
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        _ => return Err(Malformed(self.at)),
                    }
                    self.at += 1;
                }
                0..=0x1f => return Err(Malformed(self.at)), // must be escaped; or the end
                _ => self.at += 1,
            }
        }
    }
}
