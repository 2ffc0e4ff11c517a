package database

import (
	"strconv"
	"strings"
	"sync"
)

// keepRewritten bounds the texts that are kept; see keepPrepared.
const keepRewritten = 1024

// placeholders turns ? into PostgreSQL's $1, $2 and so on, once per text.
type placeholders struct {
	mu    sync.RWMutex
	texts map[string]string
}

func (p *placeholders) rewrite(query string) string {
	p.mu.RLock()
	text, ok := p.texts[query]
	p.mu.RUnlock()
	if ok {
		return text
	}
	text = numbered(query)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.texts == nil || len(p.texts) >= keepRewritten {
		p.texts = map[string]string{}
	}
	p.texts[query] = text
	return text
}

// numbered replaces each ? that stands outside of quotes and comments.
func numbered(query string) string {
	var b strings.Builder
	n := 0
	for i := 0; i < len(query); i++ {
		var end int // of what is copied, counted from i
		switch c := query[i]; {
		case c == '\'' || c == '"': // a doubled quote is two texts side by side
			end = strings.IndexByte(query[i+1:], c) + 1
		case strings.HasPrefix(query[i:], "--"):
			end = strings.IndexByte(query[i:], '\n')
		case strings.HasPrefix(query[i:], "/*"):
			end = strings.Index(query[i:], "*/") + 1
		case c == '?':
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		default:
			b.WriteByte(c)
			continue
		}
		if end <= 0 { // it does not end
			end = len(query) - 1 - i
		}
		b.WriteString(query[i : i+end+1])
		i += end
	}
	return b.String()
}
