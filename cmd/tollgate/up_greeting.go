package main

import (
	"fmt"
	"path/filepath"
	"time"
)

// say shows progress while parts start.
func (d *demo) say(part, what string) { fmt.Fprintf(d.out, "  %-8s %s\n", part, what) }

// greet says where things are, and how to try them.
func (d *demo) greet(after time.Duration) {
	storage := "none: batch jobs need Node.js"
	if d.storage != nil {
		storage = d.storage.URL
	}
	fmt.Fprintf(d.out, "\nReady after %.1f s. Ctrl-C stops everything.\n\n", after.Seconds())
	if d.empty {
		d.say("gateway", d.gateway())
	} else {
		d.say("gateway", d.gateway()+"/"+demoSuffix)
	}
	d.say("backend", d.backend()+" (emulated AzureML)")
	d.say("storage", storage)
	if !d.empty {
		d.say("catalog", d.catalog+" (edit it: it is applied at once)")
	}
	d.say("logs", filepath.Join(d.layout.dir, "*.log"))
	d.say("limits", "what is used of them: "+shellQuote(self())+" limits --admin "+shellQuote(d.layout.administration))
	d.say("keys", d.layout.env+" (load it with: . "+shellQuote(d.layout.env)+")")
	if d.empty {
		fmt.Fprintf(d.out, "\nNothing is handed out yet. docs/manage.md goes on from here.\n\n")
		return
	}
	fmt.Fprintf(d.out, "\nTry it from another shell:\n\n%s\n\n", d.curl())
}

// curl is the experiment's call, on one line, that works wherever it is pasted.
func (d *demo) curl() string {
	url := fmt.Sprintf("%s/%s/workspaces/%s/services/%s/execute?api-version=2.0&details=true",
		d.gateway(), demoSuffix, demoWorkspace, demoService)
	body := `{"Inputs":{"input1":{"ColumnNames":["Col2"],"Values":[["This is a good day"]]}},"GlobalParameters":{}}`
	return fmt.Sprintf("curl -i %s -H %s -H 'Content-Type: application/json' -d %s",
		shellQuote(url), shellQuote("Ocp-Apim-Subscription-Key: "+d.keys.Unlimited), shellQuote(body))
}
