package main

import (
	"fmt"
	"strings"
)

// cVectors writes the golden vectors as values of the C structs: C has no
// parser of JSON.
func cVectors(s *Schema) ([]byte, error) {
	var w writer
	w.p(header + "// The golden vectors of sdk/abi/testdata.\n")
	w.p("typedef struct vector {\n  const char *name, *hex, *plain; // plain: the value as this version writes it; NULL = the bytes must be refused\n" +
		"  const void *value;\n  bool (*write)(souk_writer *w, const void *value);\n  bool (*copy)(souk_writer *w, const uint8_t *b, uint32_t n);\n} vector;\n")
	for _, r := range s.Records {
		if !r.Message {
			continue
		}
		n := snake(r.Name)
		w.p("static bool write_%s(souk_writer *w, const void *v) { return souk_%s_write(w, (const souk_%s *)v); }", n, n, n)
		w.p("static bool copy_%s(souk_writer *w, const uint8_t *b, uint32_t n) {\n  souk_%s v;\n  return souk_%s_read(b, n, &v) && v.head.size == n && souk_%s_write(w, &v);\n}", n, n, n, n)
	}
	for i, v := range s.Vectors {
		if v.Value != nil {
			text, err := cValue(s, v.Record, v.Value)
			if err != nil {
				return nil, err
			}
			w.p("static const souk_%s value_%d = %s;", snake(v.Record.Name), i, text)
		}
	}
	w.p("\nstatic const vector vectors[] = {")
	for i, v := range s.Vectors {
		plain, value := "NULL", "NULL"
		if v.Value != nil {
			plain, value = fmt.Sprintf("%q", fmt.Sprintf("%x", v.Plain)), fmt.Sprintf("&value_%d", i)
		}
		w.p("  {%s, %s, %s, %s, write_%s, copy_%s},", cString(v.Name), cLong(fmt.Sprintf("%x", v.Bytes)), plain, value, snake(v.Record.Name), snake(v.Record.Name))
	}
	w.p("};\n\nstatic const struct {\n  souk_text key, salt;\n  uint32_t bucket;\n} buckets[] = {")
	for _, b := range s.Buckets {
		w.p("  {%s, %s, %d},", cText(b.Key), cText(b.Salt), b.Bucket)
	}
	w.p("};")
	return w.Bytes(), nil
}

// cLong quotes a long text of hexadecimal digits in pieces.
func cLong(hex string) string {
	var parts []string
	for len(hex) > 4000 {
		parts = append(parts, `"`+hex[:4000]+`"`)
		hex = hex[4000:]
	}
	return strings.Join(append(parts, `"`+hex+`"`), "\n    ")
}

func cText(s string) string { return fmt.Sprintf("{%s, %d}", cString(s), len(s)) }

func cValue(s *Schema, r *Record, value map[string]any) (string, error) {
	var parts []string
	if r.Head != "" {
		head, err := cValue(s, s.byName[r.Head], value)
		if err != nil {
			return "", err
		}
		parts = append(parts, ".head = "+head)
	}
	for _, f := range r.Fields {
		v, ok := value[snake(f.Name)]
		if !ok {
			continue
		}
		switch f.Kind {
		case U16, U32, U64, I32:
			n, err := number(v)
			if err != nil {
				return "", err
			}
			text := fmt.Sprintf("%du", n)
			if f.Kind == U64 {
				text = fmt.Sprintf("%dull", n)
			} else if f.Kind == I32 {
				text = fmt.Sprint(int32(n))
			}
			parts = append(parts, "."+cName(f)+" = "+text)
		case Str:
			parts = append(parts, "."+cName(f)+" = "+cText(v.(string)))
		case Strs, List:
			var items []string
			elem := "souk_text"
			for _, e := range v.([]any) {
				if f.Kind == Strs {
					items = append(items, cText(e.(string)))
					continue
				}
				elem = "souk_" + snake(f.Elem.Name)
				text, err := cValue(s, f.Elem, e.(map[string]any))
				if err != nil {
					return "", err
				}
				items = append(items, text)
			}
			parts = append(parts, fmt.Sprintf(".%s = {.items = (const %s[]){%s}, .count = %d}", cName(f), elem, strings.Join(items, ", "), len(items)))
		}
	}
	if len(parts) == 0 {
		return "{0}", nil
	}
	return "{" + strings.Join(parts, ", ") + "}", nil
}
