package meter

// Strip returns the module without its custom sections, if it keeps to the default limits. Custom sections have no part
// in whether a module is valid, and some hold counts that an engine trusts. What Strip returns of a module that Rewrite
// took is safe to have validated.
func Strip(wasm []byte) ([]byte, error) {
	m, err := parse(wasm, Limits{}.withDefaults())
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(wasm)), wasm[:8]...)
	for _, id := range sectionOrder {
		if m.raw[id] != nil {
			out = appendSized(append(out, id), m.raw[id])
		}
	}
	return out, nil
}
