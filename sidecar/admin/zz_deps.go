package admin

import (
	_ "github.com/danielgtaylor/huma/v2/humatest"
	_ "github.com/getkin/kin-openapi/openapi2"
	_ "github.com/getkin/kin-openapi/openapi2conv"
	_ "github.com/getkin/kin-openapi/openapi3"
	_ "github.com/mtibben/confusables"
	_ "golang.org/x/text/unicode/norm"
)
