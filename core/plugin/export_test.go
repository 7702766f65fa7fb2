package plugin

// WASINames returns the functions of WASI that there are.
func WASINames() []string {
	var names []string
	for _, f := range wasi {
		names = append(names, f.name)
	}
	return names
}

// WASIParams returns the parameters of one, a letter each.
func WASIParams(name string) string {
	return hostFunctions[importName{wasiModule, name}].params
}

// BreakStart makes every later start of an instance fail.
func BreakStart(h *Host) {
	for _, p := range h.plugins {
		p.current.Load().spec.StartFuel = 0
	}
}
