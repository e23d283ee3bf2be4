package clipstyler

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// maxAttempts is how often a call is made that has received nothing.
	maxAttempts = 5

	firstBackoff   = 200 * time.Millisecond
	longestBackoff = 5 * time.Second
)

// errClosed is why the calls of a closed client end.
var errClosed = &Error{Code: codes.Canceled, Message: "the client was closed", Metadata: map[string]string{}}

// backoffs are growing, random delays; what the server recommends is a lower bound.
type backoffs struct {
	next time.Duration
}

func (b *backoffs) reset() { b.next = 0 }

// after returns the time to wait after an error.
func (b *backoffs) after(err *Error) time.Duration {
	b.next = max(b.next, firstBackoff)
	delay := time.Duration(float64(b.next) * (0.8 + 0.4*rand.Float64()))
	b.next = min(2*b.next, longestBackoff)
	return max(delay, err.RetryDelay)
}

// attempts are those of a call that has received nothing: UNAVAILABLE is the only code that invites a plain retry. gRPC
// does not make them: it does not know RetryInfo, and loses the status of a last attempt that ends before its messages
// are sent.
type attempts struct {
	failed   int
	backoffs backoffs
}

// delayAfter returns the time to wait before the next attempt, and false if none makes sense.
func (a *attempts) delayAfter(err *Error) (time.Duration, bool) {
	a.failed++
	if err.Code != codes.Unavailable || a.failed >= maxAttempts {
		return 0, false
	}
	return a.backoffs.after(err), true
}

// pauseAfter waits before the next attempt. It returns why none makes sense.
func (a *attempts) pauseAfter(ctx context.Context, err *Error) *Error {
	if delay, ok := a.delayAfter(err); ok {
		return pause(ctx, delay, err)
	}
	return err
}

// retried makes a call that has one response.
func retried[T any](ctx context.Context, attempt func() (T, error)) (T, error) {
	var attempts attempts
	for {
		response, err := attempt()
		if err == nil {
			return response, nil
		}
		if failed := attempts.pauseAfter(ctx, asError(err)); failed != nil {
			return response, failed
		}
	}
}

// pause waits before another attempt. It returns the error of the last one, at once, if the deadline is earlier, and why
// ctx ended if it did.
func pause(ctx context.Context, delay time.Duration, last *Error) *Error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
		return last
	}
	select {
	case <-ctx.Done():
		return endOf(ctx)
	case <-time.After(delay):
		return nil
	}
}

// during limits ctx to the life of a client.
func during(ctx, life context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(life, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

// endOf returns why ctx ended.
func endOf(ctx context.Context) *Error {
	if context.Cause(ctx) == errClosed {
		return errClosed
	}
	return asError(status.FromContextError(ctx.Err()).Err())
}
