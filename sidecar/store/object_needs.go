package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/internal/catalog"
)

// maxBy bounds InUseError.By.
const maxBy = 10

// unneeded is an *InUseError while something needs the object.
func (c *changing) unneeded(kind Kind, name string) error {
	var by []string
	err := eachObject(c.ctx, c.tx, func(o Object) error {
		needs, err := o.needs(kind, name)
		if needs {
			by = append(by, string(o.Kind)+" "+o.Name)
		}
		return err
	}, neededBy[kind]...)
	if err != nil {
		return err
	}
	condition, arguments := `scope_kind = ? AND scope_name = ?`, []any{string(kind), name}
	switch kind {
	case KindGroup:
		return inUse(kind, name, by, 0)
	case KindDeveloper:
		condition, arguments = `developer = ?`, []any{name}
	}
	subs, err := c.names(`SELECT name FROM subscription WHERE removed = 0 AND `+condition+` ORDER BY name LIMIT 10`, arguments...)
	if err != nil {
		return err
	}
	var n int64
	if err := c.tx.QueryRow(c.ctx, `SELECT COUNT(*) FROM subscription WHERE removed = 0 AND `+condition, arguments...).Scan(&n); err != nil {
		return err
	}
	for _, sub := range subs {
		by = append(by, "subscription "+sub)
	}
	return inUse(kind, name, by, int(n)-len(subs))
}

// inUse is an *InUseError where something needs the object; more are those that by leaves
// out.
func inUse(kind Kind, name string, by []string, more int) error {
	if len(by) == 0 {
		return nil
	}
	e := &InUseError{Kind: string(kind), Name: name, By: by, More: more}
	if len(by) > maxBy {
		e.By, e.More = by[:maxBy], more+len(by)-maxBy
	}
	return e
}

// neededBy are the kinds of objects that name others of a kind.
var neededBy = map[Kind][]Kind{
	KindAPI:   {KindProduct},
	KindGroup: {KindProduct, KindDeveloper},
}

// needs says whether the object names the one of this kind and name.
func (o *Object) needs(kind Kind, name string) (bool, error) {
	var names struct {
		APIs   []string `json:"apis"`
		Groups []string `json:"groups"`
	}
	if err := json.Unmarshal(o.Spec, &names); err != nil {
		return false, fmt.Errorf("%s: %w", label(o.Kind, o.Name), err)
	}
	if kind == KindAPI {
		return slices.Contains(names.APIs, name), nil
	}
	return slices.Contains(names.Groups, name) && !slices.Contains(catalog.BuiltInGroups, name), nil
}

// names reads one column of texts.
func (c *changing) names(query string, arguments ...any) ([]string, error) {
	found, err := c.tx.Query(c.ctx, query, arguments...)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	var names []string
	for found.Next() {
		var name string
		if err := found.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, found.Err()
}
