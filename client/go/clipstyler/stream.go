package clipstyler

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// ResumeTimeout is how long a stream is resumed without any message from the server.
const ResumeTimeout = 2 * time.Minute

// A connection that broke gives no reason. A worker that crashed on a job is not sent the same job again.
var transient = map[string]bool{"": true, reasonDraining: true, "WORKER_NOT_READY": true, "STORAGE_UNAVAILABLE": true}

// What gRPC reports if a proxy resets a stream or ends it without a status. The server's own errors have a reason.
var reset = map[codes.Code]bool{codes.Internal: true, codes.Unknown: true}

// receive returns the next event of a call.
type receive func() (*pb.StylizationEvent, error)

// beginAfter begins a stream of events after a sequence number.
type beginAfter func(ctx context.Context, sequence int64) (receive, error)

// Stream has the events of a stylization and its result, and resumes by itself after interruptions.
//
// Range over Events, or call Result, once. Leaving the range, or the end of the context, ends the call: that cancels
// a one-shot stylization and changes nothing for a job that is watched. A Stream belongs to one goroutine.
type Stream struct {
	ctx      context.Context
	life     context.Context // of the client
	begin    beginAfter
	isWatch  bool
	sequence int64
	isBegun  bool
	result   *pb.StylizationEvent_Result
	err      *Error // why there is no result
}

// Sequence returns the number of the last event received: a later watch can begin after it.
func (s *Stream) Sequence() int64 { return s.sequence }

// Events iterates over the events, the result last. Chunks of a large result are not among them: the result has all
// its bytes. An error is the last thing that it gives: the call failed, or the stylization failed or was cancelled.
// A later range gives that error only.
func (s *Stream) Events() iter.Seq2[*pb.StylizationEvent, error] {
	return func(yield func(*pb.StylizationEvent, error) bool) {
		if !s.isBegun {
			s.isBegun, s.err = true, broken("the stream was closed before its result")
			s.play(yield)
		} else if s.err != nil {
			yield(nil, s.err)
		}
	}
}

// Result waits for the end and returns the result, skipping the events. It may be called again, and after a range.
func (s *Stream) Result() (*pb.StylizationEvent_Result, error) {
	for _, err := range s.Events() {
		if err != nil {
			return nil, err
		}
	}
	return s.result, nil
}

// play makes attempts until there is a result or an error, or the caller leaves.
func (s *Stream) play(yield func(*pb.StylizationEvent, error) bool) {
	ctx, cancel := during(s.ctx, s.life)
	defer cancel()
	resumption := &resumption{afterResets: s.isWatch}
	for {
		err := s.read(ctx, resumption, yield)
		if err == nil {
			return
		}
		if delay, ok := resumption.delayAfter(err); ok {
			err = pause(ctx, delay, err)
		}
		if err != nil {
			s.err = err
			yield(nil, err)
			return
		}
	}
}

// read gives the events of one attempt; it returns nil after the result, and when the caller leaves.
func (s *Stream) read(ctx context.Context, resumption *resumption, yield func(*pb.StylizationEvent, error) bool) *Error {
	next, err := s.begin(ctx, s.sequence)
	if err != nil {
		return asError(err)
	}
	var reader eventReader
	for {
		message, err := next()
		if err != nil {
			return ended(err)
		}
		event, failed := reader.read(message)
		if failed != nil {
			resumption.toldTheEnd()
			return failed
		}
		if event == nil {
			continue
		}
		s.sequence = max(s.sequence, event.GetSequence())
		if s.result = event.GetResult(); s.result != nil {
			s.err = nil
		}
		if !yield(event, nil) {
			return nil
		}
		resumption.received()
		if s.result != nil {
			drain(next)
			return nil
		}
	}
}

// resumption decides whether a stream goes on after an error: until the server was silent for too long.
type resumption struct {
	silentSince time.Time
	attempts    attempts
	backoffs    backoffs
	isOver      bool
	// Whether it goes on after a proxy reset it. A proxy resets streams whose time is up, too: a watch continues then,
	// but a one-shot call would begin anew each time.
	afterResets bool
}

// received records that the caller is done with an event: only from then on the server is silent.
func (r *resumption) received() {
	r.silentSince = time.Now()
	r.backoffs.reset()
}

// toldTheEnd records that an event told how the stylization ended: a job that is watched stays as it is, whatever would
// help the next one; a one-shot call may begin anew.
func (r *resumption) toldTheEnd() {
	r.isOver = r.afterResets
}

// delayAfter returns the time to wait before the next attempt, and false if none makes sense.
func (r *resumption) delayAfter(err *Error) (time.Duration, bool) {
	if r.isOver {
		return 0, false
	}
	if r.silentSince.IsZero() {
		return r.attempts.delayAfter(err)
	}
	if !r.isTransient(err) || time.Since(r.silentSince) > ResumeTimeout {
		return 0, false
	}
	return r.backoffs.after(err), true
}

func (r *resumption) isTransient(err *Error) bool {
	if err.Code == codes.Unavailable {
		return transient[err.Reason]
	}
	return r.afterResets && reset[err.Code] && err.Reason == ""
}

// eventsOf adapts a call whose responses carry events.
func eventsOf[R any, P interface {
	*R
	GetEvent() *pb.StylizationEvent
}](call grpc.ServerStreamingClient[R], err error) (receive, error) {
	if err != nil {
		return nil, err
	}
	return func() (*pb.StylizationEvent, error) {
		response, err := call.Recv()
		return P(response).GetEvent(), err
	}, nil
}

// drain reads a call to its end, so that it is not cancelled after all was received.
func drain(next receive) {
	for err := error(nil); err == nil; {
		_, err = next()
	}
}

func ended(err error) *Error {
	if errors.Is(err, io.EOF) {
		return broken("the stream ended without a result")
	}
	return asError(err)
}
