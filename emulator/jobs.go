package emulator

import (
	"context"
	"strings"
	"sync"
)

// State is a batch job's StatusCode. AzureML numbers them 0 to 4 in this order and accepts nothing else; answers carry the names.
type State string

// The states of a batch job.
const (
	NotStarted State = "NotStarted"
	Running    State = "Running"
	Failed     State = "Failed"
	Cancelled  State = "Cancelled"
	Finished   State = "Finished"
)

// queued is what a second start is told about a job that waits for a slot; its status is NotStarted.
const queued State = "Queued"

// maxJobs bounds what the emulator remembers; a submit beyond it is NoMoreResources.
const maxJobs = 10000

// errNoJob stands for the 404, whose detail is configurable.
var errNoJob = &Error{}

// workFunc runs one job. An error that comes after ctx ended is ignored.
type workFunc func(ctx context.Context, id string, in, out *blobRef) (*location, *Error)

type job struct {
	state   State
	started bool
	in, out *blobRef // nil once ended: they hold keys
	result  *location
	failure string
	stop    context.CancelFunc // nil until started
}

func (j *job) ended() bool { return j.state != NotStarted && j.state != Running }

func (j *job) end(state State) {
	j.state, j.in, j.out = state, nil, nil
	if j.stop != nil {
		j.stop()
	}
}

// jobs are all jobs of the service, by lower-case id: ids are GUIDs, so a client may write one in either case.
type jobs struct {
	mu     sync.Mutex
	byID   map[string]*job
	slots  chan struct{} // nil: no bound
	ctx    context.Context
	cancel context.CancelFunc
	closed bool
	work   sync.WaitGroup
}

func newJobs(atOnce int) *jobs {
	s := &jobs{byID: map[string]*job{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if atOnce > 0 {
		s.slots = make(chan struct{}, atOnce)
	}
	return s
}

func (s *jobs) add(id string, in, out *blobRef) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) >= maxJobs {
		return false
	}
	s.byID[id] = &job{state: NotStarted, in: in, out: out}
	return true
}

func (s *jobs) start(id string, work workFunc) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id = strings.ToLower(id)
	j := s.byID[id]
	switch {
	case j == nil:
		return errNoJob
	case j.state != NotStarted:
		return NewError("CannotStartJob", string(j.state))
	case j.started:
		return NewError("CannotStartJob", string(queued))
	case s.closed:
		return NewError("NoMoreResources")
	}
	j.started = true
	var ctx context.Context
	ctx, j.stop = context.WithCancel(s.ctx)
	s.work.Go(func() { s.run(ctx, id, j, work) })
	return nil
}

// run waits for a slot, works, and records the outcome unless the job was cancelled meanwhile.
func (s *jobs) run(ctx context.Context, id string, j *job, work workFunc) {
	if s.slots != nil {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-ctx.Done():
			return
		}
	}
	s.mu.Lock()
	if j.ended() {
		s.mu.Unlock()
		return
	}
	j.state = Running
	in, out := j.in, j.out
	s.mu.Unlock()

	result, e := work(ctx, id, in, out)

	s.mu.Lock()
	defer s.mu.Unlock()
	if j.ended() {
		return
	}
	if e != nil {
		j.failure = explain(e)
		j.end(Failed)
		return
	}
	j.result = result
	j.end(Finished)
}

// view is what a status answers.
type view struct {
	state   State
	result  *location
	failure string
}

func (s *jobs) status(id string) (view, *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.byID[strings.ToLower(id)]
	if j == nil {
		return view{}, errNoJob
	}
	return view{j.state, j.result, j.failure}, nil
}

func (s *jobs) remove(id string) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	id = strings.ToLower(id)
	j := s.byID[id]
	switch {
	case j == nil:
		return errNoJob
	case j.ended():
		delete(s.byID, id)
	default:
		j.end(Cancelled)
	}
	return nil
}

// close cancels what runs and waits for it.
func (s *jobs) close() {
	s.mu.Lock()
	s.closed = true
	for _, j := range s.byID {
		if j.started && !j.ended() {
			j.end(Cancelled)
		}
	}
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}
