// Package examples carries the modules of the same small policy in each language:
// what sdk/README.md shows, for programs that compare languages. The policy: each
// device gets the newest version that is rolled out to it.
package examples

import _ "embed"

//go:generate go run ../toolchain/build sdk/examples examples/extism

var (
	//go:embed go/guest.wasm
	goModule []byte
	//go:embed rust/guest.wasm
	rustModule []byte
	//go:embed assemblyscript/guest.wasm
	assemblyScriptModule []byte
	//go:embed c/guest.wasm
	cModule []byte
	//go:embed javascript/guest.wasm
	javaScriptModule []byte
	//go:embed wat/guest.wasm
	watModule []byte
)

// Example is the policy in one language, which answers select_version.
type Example struct {
	Language string
	Wasm     []byte
}

// All are those of sdk/README.md, in its order.
func All() []Example {
	return []Example{
		{"go", goModule}, {"rust", rustModule}, {"assemblyscript", assemblyScriptModule}, {"c", cModule},
		{"javascript", javaScriptModule}, {"wat", watModule},
	}
}
