// The module that Envoy loads. Built with GOOS=wasip1 GOARCH=wasm -buildmode=c-shared; the
// host calls _initialize, never main.
package main

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"github.com/tollgate/tollgate/plugin/filter"
)

func main() {}

func init() { proxywasm.SetVMContext(filter.NewVM()) }
