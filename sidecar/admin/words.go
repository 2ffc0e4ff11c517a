package admin

import (
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
)

// speak gives huma our problems, and the words of the catalog's own mistakes. Both are
// variables of its packages.
var speak = sync.OnceFunc(func() {
	huma.NewError = fromHuma
	validation.MsgUnexpectedProperty = "there is no such field"
	validation.MsgExpectedString = "must be text"
	validation.MsgExpectedInteger = "must be a whole number"
	validation.MsgExpectedNumber = "must be a number"
	validation.MsgExpectedBoolean = "must be true or false"
	validation.MsgExpectedObject = "must be a mapping"
	validation.MsgExpectedArray = "must be a list"
	validation.MsgExpectedOneOf = "must be one of \"%s\""
	validation.MsgExpectedMinimumNumber = "must be at least %v"
	validation.MsgExpectedMaximumNumber = "must be at most %v"
	validation.MsgExpectedMinLength = "must have at least %d characters"
	validation.MsgExpectedMaxLength = "must have at most %d characters"
	validation.MsgExpectedRequiredProperty = "must have the field %s"
	validation.MsgExpectedRFC3339DateTime = "must be a time, like 2027-01-31T18:00:00Z"
})
