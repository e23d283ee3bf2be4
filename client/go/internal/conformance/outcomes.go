package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"regexp"
	"sort"
	"strings"

	"clipstyler.dev/client/go/clipstyler"
	pb "clipstyler.dev/client/go/clipstylerv1"
)

var upperCase = regexp.MustCompile(`(.)([A-Z])`)

func addError(into outcome, err error) {
	var failure *clipstyler.Error
	if !errors.As(err, &failure) {
		into["code"], into["message"] = "no *clipstyler.Error", err.Error()
		return
	}
	code := strings.ToUpper(upperCase.ReplaceAllString(failure.Code.String(), "${1}_${2}"))
	into["code"] = strings.Replace(code, "CANCELED", "CANCELLED", 1)
	into["message"], into["reason"], into["metadata"] = failure.Message, failure.Reason, failure.Metadata
	if failure.Metadata == nil {
		into["metadata"] = outcome{}
	}
	fields := []string{}
	for _, violation := range failure.Violations {
		fields = append(fields, violation.Field)
	}
	sort.Strings(fields)
	into["fields"] = fields
	into["retry_delay_s"] = nil
	if failure.RetryDelay > 0 {
		into["retry_delay_s"] = failure.RetryDelay.Seconds()
	}
}

func addJob(into outcome, job *pb.Stylization) {
	into["job"] = job.GetName()
	into["state"] = job.GetState().String()
	into["cancel_reason"] = job.GetCancelReason().String()
	into["step"] = job.GetStep()
	into["attempts"] = job.GetAttemptCount()
	into["style_text"] = job.GetSpec().GetStyleText()
	into["seed"] = job.GetSpec().GetOptions().GetSeed()
	into["error_reason"] = job.GetError().GetReason()
	into["fitted_photos"] = job.GetFittedPhotoCount()
	into["fitted_style"] = job.GetResult().GetStyle()
}

func addImage(into outcome, data []byte, metadata *pb.ImageMetadata) {
	digest := sha256.Sum256(data)
	into["width"], into["height"] = metadata.GetWidthPx(), metadata.GetHeightPx()
	into["format"] = metadata.GetFormat().String()
	into["bytes"], into["sha256"] = len(data), hex.EncodeToString(digest[:])
}

func addEvents(into outcome, events []*pb.StylizationEvent) {
	kinds, warnings := []string{}, []string{}
	sequence, inOrder, previews, skipped, expired := int64(0), true, 0, int32(0), false
	for _, event := range events {
		kinds = append(kinds, kind(event))
		inOrder = inOrder && event.GetSequence() >= sequence
		sequence = event.GetSequence()
		if event.GetPreview() != nil {
			previews++
		}
		if warning := event.GetWarning(); warning != nil {
			warnings = append(warnings, warning.GetCode())
		}
		if draft := event.GetDraft(); draft != nil {
			addDraft(into, draft)
		}
		skipped += event.GetGap().GetSkippedProgressCount()
		expired = expired || event.GetGap().GetLogExpired()
		into["job"] = event.GetStylization()
		if result := event.GetResult(); result != nil {
			into["seed"] = result.GetSpec().GetOptions().GetSeed()
			into["fitted_style"] = result.GetResult().GetStyle()
			addImage(into, result.GetImageData(), result.GetResult().GetImage())
		}
	}
	into["events"], into["warnings"], into["previews"] = kinds, warnings, previews
	into["in_order"], into["sequence"] = inOrder, sequence
	into["skipped_progress"], into["log_expired"] = skipped, expired
}

func addDraft(into outcome, draft *pb.StylizationEvent_Draft) {
	into["draft_style"], into["draft_text"] = draft.GetStyle(), draft.GetStyleText()
	into["draft_similarity"] = draft.Similarity
	into["draft_width"], into["draft_bytes"] = draft.GetImage().GetWidthPx(), len(draft.GetImageData())
}

func kind(event *pb.StylizationEvent) string {
	message := event.ProtoReflect()
	return message.WhichOneof(message.Descriptor().Oneofs().ByName("event")).TextName()
}
