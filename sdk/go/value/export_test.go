package value

// Spelling is how a number is written.
func (v Value) Spelling() string { return v.text }
