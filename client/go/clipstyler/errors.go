package clipstyler

import (
	"fmt"
	"strings"
	"time"

	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	reasonBroken   = "BROKEN_RESULT"
	reasonDraining = "DRAINING"
	reasonInvalid  = "INVALID_FIELD"

	// What gRPC reports for a request that cannot be encoded, such as one with a text that is no UTF-8. It was never sent.
	unsendable = "grpc: error while marshaling: "
)

// FieldViolation is a field of the request that cannot be used, by its path in the contract, and why.
type FieldViolation struct {
	Field       string
	Description string
}

// Error is a call or a job that failed. Every error that this package returns is one; use [errors.As].
type Error struct {
	Code    codes.Code
	Message string
	// Reason is stable and in UPPER_SNAKE_CASE; "" if the server gave none.
	Reason string
	// Metadata has every variable part of the message, by name.
	Metadata map[string]string
	// Violations has every field that cannot be used.
	Violations []FieldViolation
	// RetryDelay is the time after which a retry makes sense; 0 if the server recommends none.
	RetryDelay time.Duration

	cause error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns what gRPC reported; nil for errors of jobs.
func (e *Error) Unwrap() error { return e.cause }

// asError translates what a call returned; nil stays nil.
func asError(err error) *Error {
	if err == nil {
		return nil
	}
	if known, ok := err.(*Error); ok {
		return known
	}
	reported := status.Convert(err)
	if problem, ok := strings.CutPrefix(reported.Message(), unsendable); ok {
		return invalid(problem, err)
	}
	translated := &Error{Code: reported.Code(), Message: reported.Message(), Metadata: map[string]string{}, cause: err}
	for _, detail := range reported.Details() {
		translated.add(detail)
	}
	return translated
}

func (e *Error) add(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		e.Reason = detail.GetReason()
		for name, value := range detail.GetMetadata() {
			e.Metadata[name] = value
		}
	case *errdetails.BadRequest:
		for _, violation := range detail.GetFieldViolations() {
			e.Violations = append(e.Violations, FieldViolation{violation.GetField(), violation.GetDescription()})
		}
	case *errdetails.RetryInfo:
		e.RetryDelay = detail.GetRetryDelay().AsDuration()
	}
}

// ErrorOf translates the error that a job or a failed event carries; nil stays nil.
func ErrorOf(message *pb.Error) *Error {
	if message == nil {
		return nil
	}
	translated := &Error{
		Code:       codes.Code(message.GetCode()),
		Message:    message.GetMessage(),
		Reason:     message.GetReason(),
		Metadata:   message.GetMetadata(),
		RetryDelay: message.GetRetryDelay().AsDuration(),
	}
	for _, violation := range message.GetFieldViolations() {
		translated.Violations = append(translated.Violations, FieldViolation{violation.GetField(), violation.GetDescription()})
	}
	return translated
}

// invalid is the error of what this package itself refuses.
func invalid(message string, cause error) *Error {
	metadata := map[string]string{}
	return &Error{Code: codes.InvalidArgument, Reason: reasonInvalid, Message: message, Metadata: metadata, cause: cause}
}

func broken(format string, values ...any) *Error {
	message := fmt.Sprintf(format, values...) + "; request it again"
	return &Error{Code: codes.DataLoss, Reason: reasonBroken, Message: message}
}
