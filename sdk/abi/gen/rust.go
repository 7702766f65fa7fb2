package main

import (
	"fmt"
	"strings"
)

// rust writes the records, hooks and host functions of the Rust SDK. What it
// writes needs no allocator, and contains no unsafe code but the declarations of the
// host functions and what makes a str of bytes that were looked at.
func rust(s *Schema) (map[string][]byte, error) {
	var w writer
	w.p(header + "//! The contract of Souk's plugins, version 1: records, hooks, host functions.\n")
	for _, v := range s.Consts {
		rustDoc(&w, "", v.Doc)
		t := "usize"
		if strings.HasPrefix(v.Value, `"`) {
			t = "&str"
		} else if v.Name == "Minor" {
			t = "u16"
		} else if v.Name == "Buckets" {
			t = "u32"
		}
		w.p("pub const %s: %s = %s;", upper(v.Name), t, v.Value)
	}
	for _, e := range s.Enums {
		t := rustInt(e.Type)
		w.p("")
		rustDoc(&w, "", e.Doc)
		w.p("#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]\npub struct %s(pub %s);\n\nimpl %s {", e.Name, t, e.Name)
		for _, v := range e.Values {
			rustDoc(&w, "    ", v.Doc)
			w.p("    pub const %s: %s = %s(%s);", strings.ToUpper(e.within(v)), e.Name, e.Name, v.Value)
		}
		if strings.HasSuffix(e.Name, "Flags") {
			w.p("\n    /// has says whether all bits of `flag` are set.\n    pub fn has(self, flag: %s) -> bool {\n        self.0 & flag.0 == flag.0\n    }", e.Name)
		}
		w.p("}")
	}
	w.WriteString(rustReading)
	for _, r := range s.inOrder() {
		rustRecord(&w, s, r)
	}
	for _, r := range s.Records {
		if r.Message && r.Request {
			rustHook(&w, s, r)
		}
	}
	rustHost(&w, s)
	tests, err := rustVectors(s)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"sdk/rust/src/abi.rs": w.Bytes(), "sdk/rust/tests/vectors_gen/mod.rs": tests}, nil
}

func rustDoc(w *writer, indent, doc string) {
	if doc == "" {
		return
	}
	for _, line := range sentences(doc) {
		w.p("%s%s", indent, strings.TrimRight("/// "+line, " "))
	}
}

func rustInt(t string) string {
	return strings.NewReplacer("uint", "u", "int", "i").Replace(t)
}

// rustLives says whether a record borrows from the message.
func rustLives(s *Schema, r *Record) bool {
	return r.points() || r.Head != "" && rustLives(s, s.byName[r.Head])
}

func rustName(s *Schema, r *Record, life string) string {
	if rustLives(s, r) {
		return r.Name + "<" + life + ">"
	}
	return r.Name
}

func rustType(s *Schema, f *Field) string {
	switch f.Kind {
	case Str:
		return "&'a str"
	case Strs:
		return "List<'a, &'a str>"
	case List:
		return "List<'a, " + rustName(s, f.Elem, "'a") + ">"
	}
	if strings.ToLower(f.Type) == f.Type {
		return rustInt(f.Type)
	}
	return f.Type
}

// rustReading is what all records share.
const rustReading = `
/// The bytes are no record of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARecord;

/// A message does not fit into the space that there is for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSpace;

/// What is left of a message's bounds while it is read.
pub struct Reader<'a> {
    message: &'a [u8],
    lists: usize, // bytes that lists may still take: they don't overlap
    texts: usize, // bytes that texts may still take: shared ones count each time
    checked: bool, // all of it has been looked at before
    wrong: bool,
}

/// Where a message is written. One that has no space left is full and stays it.
pub struct Writer<'b> {
    space: &'b mut [u8],
    size: usize,
    full: bool,
}

/// A record, or a text, as it lies in a message.
pub trait Record<'a>: Copy + Default {
    /// Bytes of its fixed part.
    const SIZE: usize;
    #[doc(hidden)]
    fn get(r: &mut Reader<'a>, p: &[u8]) -> Self;
    #[doc(hidden)]
    fn put(&self, w: &mut Writer<'_>, at: usize);
}

/// A record that travels.
pub trait Message<'a>: Record<'a> {
    #[doc(hidden)]
    const REQUEST: bool;

    /// Takes a message. What it gives lies in the message.
    fn read(message: &'a [u8]) -> Result<Self, NotARecord> {
        let mut r = Reader { message, lists: message.len(), texts: MAX_STRINGS, checked: false, wrong: false };
        let fixed = r.open(Self::REQUEST).ok_or(NotARecord)?;
        let v = Self::get(&mut r, fixed);
        if r.wrong {
            return Err(NotARecord);
        }
        Ok(v)
    }

    /// Writes the message to the beginning of space and returns its size. The
    /// head's fields that describe the message itself are computed.
    fn write(&self, space: &mut [u8]) -> Result<usize, NoSpace> {
        let mut w = Writer { space, size: 0, full: false };
        w.reserve(Self::SIZE);
        self.put(&mut w, 0);
        w.put32(0, w.size as u32);
        if w.full {
            return Err(NoSpace);
        }
        Ok(w.size)
    }
}

#[inline(always)]
fn get16(p: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([p[at], p[at + 1]])
}

#[inline(always)]
fn get32(p: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([p[at], p[at + 1], p[at + 2], p[at + 3]])
}

#[inline(always)]
fn get64(p: &[u8], at: usize) -> u64 {
    u64::from(get32(p, at)) | u64::from(get32(p, at + 4)) << 32
}

/// Says whether bytes, at least one, are ASCII. Eight at a time: the texts of a message
/// are short, and nearly all are ASCII.
fn ascii(b: &[u8]) -> bool {
    let n = b.len();
    if n < 4 {
        return (b[0] | b[n / 2] | b[n - 1]) < 0x80;
    }
    if n < 8 {
        return (get32(b, 0) | get32(b, n - 4)) & 0x8080_8080 == 0;
    }
    let mut all = get64(b, n - 8);
    for word in b.chunks_exact(8) {
        all |= get64(word, 0);
    }
    all & 0x8080_8080_8080_8080 == 0
}

/// Gives the bytes of a record that has fewer or more of them: what an older
/// partner doesn't know is zero.
fn part<'p, const N: usize>(p: &'p [u8], space: &'p mut [u8; N]) -> &'p [u8; N] {
    if p.len() < N {
        space[..p.len()].copy_from_slice(p);
        return space;
    }
    match p[..N].try_into() {
        Ok(p) => p,
        Err(_) => space,
    }
}

impl<'a> Reader<'a> {
    /// Checks the size of a message and returns its fixed part, which has no
    /// field of its own in a verdict.
    fn open(&mut self, request: bool) -> Option<&'a [u8]> {
        let m = self.message;
        if m.len() < 8 || get32(m, 0) as usize != m.len() {
            return None;
        }
        if !request {
            return Some(m);
        }
        if m.len() < 20 {
            return None;
        }
        match get32(m, 16) as usize {
            0..=19 => None,
            fixed => m.get(..fixed),
        }
    }

    #[inline(always)]
    fn text(&mut self, p: &[u8], at: usize) -> &'a str {
        let (off, len) = (get32(p, at) as usize, get32(p, at + 4) as usize);
        if len == 0 || self.wrong {
            return "";
        }
        if let Some(bytes) = off.checked_add(len).and_then(|end| self.message.get(off..end)) {
            if self.checked || self.allows(bytes) {
                // Safety: it is UTF-8. It was looked at here, or when the message was
                // read, which is borrowed since.
                return unsafe { core::str::from_utf8_unchecked(bytes) };
            }
        }
        self.wrong = true;
        ""
    }

    /// Says whether a text of the message is UTF-8 and not one too many.
    #[inline(never)]
    fn allows(&mut self, text: &[u8]) -> bool {
        if text.len() > self.texts {
            return false;
        }
        self.texts -= text.len();
        ascii(text) || core::str::from_utf8(text).is_ok()
    }

    fn list<T: Record<'a>>(&mut self, p: &[u8], at: usize) -> List<'a, T> {
        let (off, count, stride) = (get32(p, at), get32(p, at + 4), get32(p, at + 8));
        if count == 0 || self.wrong {
            return List::default();
        }
        let bytes = u64::from(count) * u64::from(stride);
        if !self.checked {
            if stride < 8 || bytes > self.lists as u64 || u64::from(off) + bytes > self.message.len() as u64 {
                self.wrong = true;
                return List::default();
            }
            self.lists -= bytes as usize;
        }
        let (off, count, stride) = (off as usize, count as usize, stride as usize);
        if !self.checked {
            for i in 0..count {
                let at = off + i * stride;
                T::get(self, &self.message[at..at + stride]);
                if self.wrong {
                    return List::default();
                }
            }
        }
        List(Items::View { message: self.message, off, count, stride })
    }
}

/// A list: of a message that was read, or of what is to be written.
#[derive(Clone, Copy, Debug)]
pub struct List<'a, T>(Items<'a, T>);

#[derive(Clone, Copy, Debug)]
enum Items<'a, T> {
    Slice(&'a [T]),
    View { message: &'a [u8], off: usize, count: usize, stride: usize },
}

impl<'a, T> Default for List<'a, T> {
    fn default() -> Self {
        List(Items::Slice(&[]))
    }
}

impl<'a, T> From<&'a [T]> for List<'a, T> {
    fn from(items: &'a [T]) -> Self {
        List(Items::Slice(items))
    }
}

impl<'a, T, const N: usize> From<&'a [T; N]> for List<'a, T> {
    fn from(items: &'a [T; N]) -> Self {
        List(Items::Slice(items))
    }
}

impl<'a, T: Record<'a>> List<'a, T> {
    pub fn len(&self) -> usize {
        match self.0 {
            Items::Slice(items) => items.len(),
            Items::View { count, .. } => count,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element i, which is read when it is asked for.
    pub fn get(&self, i: usize) -> Option<T> {
        match self.0 {
            Items::Slice(items) => items.get(i).copied(),
            Items::View { message, off, count, stride } => {
                if i >= count {
                    return None;
                }
                let mut r = Reader { message, lists: 0, texts: 0, checked: true, wrong: false };
                let at = off + i * stride;
                message.get(at..at + stride).map(|p| T::get(&mut r, p))
            }
        }
    }

    pub fn iter(&self) -> Iter<'a, T> {
        Iter { list: *self, next: 0 }
    }
}

impl<'a, T: Record<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The elements of a list, in their order.
#[derive(Clone, Debug)]
pub struct Iter<'a, T> {
    list: List<'a, T>,
    next: usize,
}

impl<'a, T: Record<'a>> Iterator for Iter<'a, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        let v = self.list.get(self.next);
        self.next += usize::from(v.is_some());
        v
    }
}

impl<'b> Writer<'b> {
    fn put16(&mut self, at: usize, v: u16) {
        if !self.full {
            self.space[at..at + 2].copy_from_slice(&v.to_le_bytes());
        }
    }

    fn put32(&mut self, at: usize, v: u32) {
        if !self.full {
            self.space[at..at + 4].copy_from_slice(&v.to_le_bytes());
        }
    }

    fn put64(&mut self, at: usize, v: u64) {
        if !self.full {
            self.space[at..at + 8].copy_from_slice(&v.to_le_bytes());
        }
    }

    /// Makes room for zeroed bytes, 8-aligned in the message.
    fn reserve(&mut self, n: usize) -> usize {
        let at = (self.size + 7) & !7;
        let end = at.saturating_add(n);
        match self.space.get_mut(self.size..end) {
            Some(room) if !self.full => {
                room.fill(0);
                self.size = end;
                at
            }
            _ => {
                self.full = true;
                0
            }
        }
    }

    fn text(&mut self, at: usize, text: &str) {
        if text.is_empty() || self.full {
            return;
        }
        let off = self.size;
        match self.space.get_mut(off..off + text.len()) {
            Some(room) => room.copy_from_slice(text.as_bytes()),
            None => {
                self.full = true;
                return;
            }
        }
        self.size += text.len();
        self.put32(at, off as u32);
        self.put32(at + 4, text.len() as u32);
    }

    fn room_for_list(&mut self, at: usize, count: usize, stride: usize) -> usize {
        if count == 0 {
            return 0;
        }
        let off = self.reserve(count.saturating_mul(stride));
        self.put32(at, off as u32);
        self.put32(at + 4, count as u32);
        self.put32(at + 8, stride as u32);
        off
    }

    fn list<'a, T: Record<'a>>(&mut self, at: usize, list: &List<'a, T>) {
        let off = self.room_for_list(at, list.len(), T::SIZE);
        for (i, v) in list.iter().enumerate() {
            if self.full {
                return;
            }
            v.put(self, off + i * T::SIZE);
        }
    }
}

impl<'a> Record<'a> for &'a str {
    const SIZE: usize = 8;
    fn get(r: &mut Reader<'a>, p: &[u8]) -> Self {
        r.text(p, 0)
    }
    fn put(&self, w: &mut Writer<'_>, at: usize) {
        w.text(at, self);
    }
}

/// Why a question was not answered: the number is the result of the hook, and
/// the operator's on_error decides. 0 would be an abstention and becomes 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error(pub u32);

impl Error {
    pub const NOT_A_RECORD: Error = Error(0x5000_0001);
    pub const NO_SPACE: Error = Error(0x5000_0002);
}

impl From<NotARecord> for Error {
    fn from(_: NotARecord) -> Error {
        Error::NOT_A_RECORD
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Error {
        Error(code.0.unsigned_abs())
    }
}

/// A verdict that is written item by item.
struct Answers<'b> {
    w: Writer<'b>,
    count: usize,
    added: usize,
    at: usize,
}

impl<'b> Answers<'b> {
    fn begin<'a, V: Record<'a>, T: Record<'a>>(space: &'b mut [u8], count: usize) -> Self {
        let mut w = Writer { space, size: 0, full: false };
        w.reserve(V::SIZE);
        VerdictHead { minor: MINOR, ..VerdictHead::default() }.put(&mut w, 0);
        let at = w.room_for_list(VerdictHead::SIZE, count, T::SIZE);
        Answers { w, count, added: 0, at }
    }

    fn push<'a, T: Record<'a>>(&mut self, answer: &T) {
        if self.added == self.count || self.w.full {
            self.w.full = true;
            return;
        }
        answer.put(&mut self.w, self.at + self.added * T::SIZE);
        self.added += 1;
    }

    fn end(mut self) -> Result<usize, Error> {
        if self.w.full {
            return Err(Error::NO_SPACE);
        }
        if self.added == 0 {
            return Ok(0);
        }
        self.w.put32(VerdictHead::SIZE + 4, self.added as u32);
        self.w.put32(0, self.w.size as u32);
        Ok(self.w.size)
    }
}
`

func rustRecord(w *writer, s *Schema, r *Record) {
	name, life := rustName(s, r, "'a"), "<'a>"
	w.p("")
	rustDoc(w, "", r.Doc)
	w.p("#[derive(Clone, Copy, Debug, Default)]\npub struct %s {", name)
	if r.Head != "" {
		w.p("    pub head: %s,", rustName(s, s.byName[r.Head], "'a"))
	}
	for _, f := range r.Fields {
		rustDoc(w, "    ", f.Doc)
		w.p("    pub %s: %s,", snake(f.Name), rustType(s, f))
	}
	w.p("}\n\nimpl%s Record<'a> for %s {\n    const SIZE: usize = %d;\n", life, name, r.Size)
	reader := "r"
	if !rustLives(s, r) {
		reader = "_"
	}
	w.p("    fn get(%s: &mut Reader<'a>, p: &[u8]) -> Self {\n        let mut space = [0; %d];\n        let p = part(p, &mut space);\n        %s {", reader, r.Size, r.Name)
	if r.Head != "" {
		w.p("            head: Record::get(r, &p[..%d]),", s.byName[r.Head].Size)
	}
	for _, f := range r.Fields {
		w.p("            %s: %s,", snake(f.Name), rustGet(s, f))
	}
	w.p("        }\n    }\n")
	w.p("    fn put(&self, w: &mut Writer<'_>, at: usize) {")
	if r.Head != "" {
		w.p("        self.head.put(w, at);")
		head := s.byName[r.Head]
		if r.Request {
			w.p("        w.put16(at + %d, Hook::%s.0);\n        w.put32(at + %d, Self::SIZE as u32);", offset(head, "Hook"), upper(r.Hook), offset(head, "Fixed"))
		}
		w.p("        w.put16(at + %d, MINOR);", offset(head, "Minor"))
	}
	for _, f := range r.Fields {
		w.p("        %s;", rustPut(f))
	}
	w.p("    }\n}")
	if r.Message {
		w.p("\nimpl%s Message<'a> for %s {\n    const REQUEST: bool = %v;\n}", life, name, r.Request)
	}
}

func rustGet(s *Schema, f *Field) string {
	switch f.Kind {
	case Str:
		return fmt.Sprintf("r.text(p, %d)", f.Offset)
	case Strs, List:
		return fmt.Sprintf("r.list(p, %d)", f.Offset)
	}
	bits := map[Kind]int{U16: 16, U32: 32, U64: 64, I32: 32}[f.Kind]
	get := fmt.Sprintf("get%d(p, %d)", bits, f.Offset)
	if f.Kind == I32 {
		get += " as i32"
	}
	if t := rustType(s, f); t == f.Type {
		return t + "(" + get + ")"
	}
	return get
}

func rustPut(f *Field) string {
	from := "self." + snake(f.Name)
	switch f.Kind {
	case Str:
		return fmt.Sprintf("w.text(at + %d, %s)", f.Offset, from)
	case Strs, List:
		return fmt.Sprintf("w.list(at + %d, &%s)", f.Offset, from)
	}
	if strings.ToLower(f.Type) != f.Type {
		from += ".0"
	}
	bits := map[Kind]int{U16: 16, U32: 32, U64: 64, I32: 32}[f.Kind]
	if f.Kind == I32 {
		from += " as u32"
	}
	return fmt.Sprintf("w.put%d(at + %d, %s)", bits, f.Offset, from)
}

func rustHook(w *writer, s *Schema, r *Record) {
	verdict := s.verdict(r)
	item := s.item(verdict)
	hook, answers := snake(r.Hook), r.Hook+"Answers"
	count, note := "1", "/// The one answer to a question of `%s`; none is an abstention."
	if r.apps() {
		count, note = "request.apps.len()", "/// The answers to a question of `%s`, one an app and in the same order; none at\n/// all is an abstention."
	}
	w.p("\n"+note, hook)
	w.p("pub struct %s<'b>(Answers<'b>);\n\nimpl<'b> %s<'b> {\n    /// Adds an answer; what it holds is copied.\n    pub fn push(&mut self, answer: &%s) {\n        self.0.push(answer);\n    }\n}",
		answers, answers, rustName(s, item, "'_"))
	w.p("\n/// Answers a question of `%s`: from the bytes of the request to the size of the\n/// verdict in space, 0 = it abstains.", hook)
	w.p("pub fn %s<F>(message: &[u8], space: &mut [u8], handler: F) -> Result<usize, Error>\nwhere\n    F: FnOnce(&%s, &mut %s<'_>) -> Result<(), Error>,\n{", hook, rustName(s, r, "'_"), answers)
	w.p("    let request = %sRequest::read(message)?;", r.Hook)
	w.p("    let mut answers = %s(Answers::begin::<%sVerdict, %s>(space, %s));", answers, r.Hook, item.Name, count)
	w.p("    handler(&request, &mut answers)?;\n    answers.0.end()\n}")
	w.p("\n/// Exports the hook `%s` from a plugin, answered by a function\n/// `fn(&%sRequest, &mut %s) -> Result<(), Error>`.", hook, r.Hook, answers)
	w.p("#[macro_export]\nmacro_rules! %s {\n    ($handler:expr) => {\n        #[cfg(target_arch = \"wasm32\")]\n        #[export_name = \"%s\"]\n        pub extern \"C\" fn souk_export_%s(length: u32) -> u64 {", hook, hook, hook)
	w.p("            $crate::guest::hook(length, |message, space| $crate::abi::%s(message, space, $handler))\n        }\n    };\n}", hook)
}

func rustHost(w *writer, s *Schema) {
	w.p("\n/// The host functions as they are: see the crate's root for those to use.\n#[cfg(target_arch = \"wasm32\")]\npub mod host {\n    #[link(wasm_import_module = \"souk\")]\n    extern \"C\" {")
	for _, im := range s.Imports {
		var params []string
		for _, p := range im.Params {
			t := rustInt(p.Type)
			if p.Type == Address {
				t = "*const u8"
				if p.Name == "out" {
					t = "*mut u8"
				}
			}
			params = append(params, p.Name+": "+t)
		}
		result := ""
		if im.Result != "" {
			result = " -> " + rustInt(im.Result)
		}
		rustDoc(w, "        ", strings.ReplaceAll(strings.Replace(im.Doc, im.Method, im.Name, 1), "[Bucket]", "`bucket`"))
		w.p("        pub fn %s(%s)%s;", im.Name, strings.Join(params, ", "), result)
	}
	w.p("    }\n}")
}

// rustString quotes a text for Rust.
func rustString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c < ' ' || c == 0x301: // a combining character can't be seen
			fmt.Fprintf(&b, "\\u{%x}", c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func rustValue(s *Schema, r *Record, value map[string]any) (string, error) {
	var parts []string
	if r.Head != "" {
		head, err := rustValue(s, s.byName[r.Head], value)
		if err != nil {
			return "", err
		}
		parts = append(parts, "head: "+head)
	}
	for _, f := range r.Fields {
		v, ok := value[snake(f.Name)]
		if !ok {
			continue
		}
		text := ""
		switch f.Kind {
		case U16, U32, U64, I32:
			n, err := number(v)
			if err != nil {
				return "", err
			}
			text = fmt.Sprint(n)
			if f.Kind == I32 {
				text = fmt.Sprint(int32(n))
			}
			if rustType(s, f) == f.Type {
				text = f.Type + "(" + text + ")"
			}
		case Str:
			text = rustString(v.(string))
		case Strs, List:
			var items []string
			for _, e := range v.([]any) {
				if f.Kind == Strs {
					items = append(items, rustString(e.(string)))
					continue
				}
				item, err := rustValue(s, f.Elem, e.(map[string]any))
				if err != nil {
					return "", err
				}
				items = append(items, item)
			}
			text = "List::from(&[" + strings.Join(items, ", ") + "])"
		}
		parts = append(parts, snake(f.Name)+": "+text)
	}
	return r.Name + " { " + strings.Join(append(parts, ".."+r.Name+"::default()"), ", ") + " }", nil
}

// rustVectors writes the golden vectors as values: Rust has no parser of JSON
// without a dependency.
func rustVectors(s *Schema) ([]byte, error) {
	var w writer
	w.p(header + "//! The golden vectors of sdk/abi/testdata.\n#![allow(clippy::all)]\n\nuse souk::abi::*;\n")
	w.p("/// Calls f with each vector: its name, its bytes, and what its value gives as this\n/// version writes it, or None if the bytes must be refused; and with what reads the\n/// bytes and writes them again.")
	w.p("pub fn each(mut f: impl FnMut(&str, &str, Option<(&str, Vec<u8>)>, fn(&[u8]) -> Option<Vec<u8>>)) {")
	for _, v := range s.Vectors {
		want := "None"
		if v.Value != nil {
			text, err := rustValue(s, v.Record, v.Value)
			if err != nil {
				return nil, err
			}
			want = fmt.Sprintf("Some((\"%x\", written(&%s)))", v.Plain, text)
		}
		w.p("    f(%s, \"%x\", %s, |b| %s::read(b).ok().map(|v| written(&v)));", rustString(v.Name), v.Bytes, want, v.Record.Name)
	}
	w.p("}\n\nfn written<'a>(m: &impl Message<'a>) -> Vec<u8> {\n    let mut b = vec![0xee; 1 << 20];\n    let n = m.write(&mut b).unwrap();\n    b.truncate(n);\n    b\n}")
	w.p("\npub const BUCKETS: &[(&str, &str, u32)] = &[")
	for _, b := range s.Buckets {
		w.p("    (%s, %s, %d),", rustString(b.Key), rustString(b.Salt), b.Bucket)
	}
	w.p("];")
	return w.Bytes(), nil
}
