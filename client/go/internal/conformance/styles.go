package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"

	"clipstyler.dev/client/go/clipstyler"
	pb "clipstyler.dev/client/go/clipstylerv1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
)

// styleCall makes a call on styles.
func (p *player) styleCall(ctx context.Context, step step, into outcome) error {
	styles := p.client.Styles
	switch step.Call {
	case "style_create":
		style, err := styles.Create(ctx, step.Job)
		addStyle(into, style)
		return err
	case "style_fit":
		return p.fit(ctx, step, into)
	case "style_get":
		style, err := styles.Get(ctx, step.Style)
		addStyle(into, style)
		return err
	case "style_list":
		return p.listStyles(ctx, into)
	case "style_delete":
		return styles.Delete(ctx, step.Style)
	case "style_download":
		file, err := styles.Download(ctx, step.Style)
		into["bytes"], into["style"] = len(file), fmt.Sprintf("styles/%x", sha256.Sum256(file))
		return err
	case "style_upload":
		file, err := p.control.get("styles/" + step.File)
		if err != nil {
			return err
		}
		style, err := styles.Upload(ctx, file)
		addStyle(into, style)
		return err
	case "style_apply":
		return p.apply(ctx, step, into)
	case "style_render":
		return p.render(ctx, step, into)
	default:
		return fmt.Errorf("unknown call")
	}
}

func (p *player) fit(ctx context.Context, step step, into outcome) error {
	fit := &pb.StyleFit{Spec: &pb.StylizationSpec{}}
	if err := protojson.Unmarshal(step.Spec, fit.Spec); err != nil {
		return err
	}
	for _, name := range step.Photos {
		photo, err := p.photo(name)
		if err != nil {
			return err
		}
		fit.Photos = append(fit.Photos, photo)
	}
	request := &pb.CreateStyleRequest{Fit: fit, RequestId: step.RequestID, Priority: priority(step)}
	if step.TimeoutS > 0 {
		request.Timeout = durationpb.New(seconds(step.TimeoutS))
	}
	job, err := p.client.Styles.Fit(ctx, request)
	addJob(into, job)
	return err
}

func (p *player) listStyles(ctx context.Context, into outcome) error {
	names := []string{}
	for style, err := range p.client.Styles.List(ctx, &pb.ListStylesRequest{}) {
		if err != nil {
			return err
		}
		if len(names) == 0 {
			into["first"], into["first_is_bundled"] = style.GetName(), style.GetBundled()
		}
		names = append(names, style.GetName())
	}
	into["styles"] = names
	return nil
}

func (p *player) apply(ctx context.Context, step step, into outcome) error {
	application, err := applicationOf(step)
	if err != nil {
		return err
	}
	var photos []clipstyler.StyledPhoto
	defer func() { addStyled(into, photos) }()
	for styled, err := range p.client.Styles.Apply(ctx, application, p.photos(step.Photos)) {
		if err != nil {
			return err
		}
		if photos = append(photos, styled); len(photos) == step.StopAfter {
			break
		}
	}
	return nil
}

func (p *player) photos(names []string) iter.Seq2[*pb.StylePhoto, error] {
	return func(yield func(*pb.StylePhoto, error) bool) {
		for _, name := range names {
			if !yield(p.photo(name)) {
				return
			}
		}
	}
}

func (p *player) photo(name string) (*pb.StylePhoto, error) {
	data, err := p.control.get("photos/" + name)
	return &pb.StylePhoto{Photo: &pb.StylePhoto_Image{Image: data}}, err
}

func (p *player) render(ctx context.Context, step step, into outcome) error {
	application, err := applicationOf(step)
	if err != nil {
		return err
	}
	request := &pb.RenderStyleRequest{Application: application, Stylization: step.Job}
	if step.Photo != "" {
		if request.Photo, err = p.photo(step.Photo); err != nil {
			return err
		}
	}
	image, err := p.client.Styles.Render(ctx, request)
	if err == nil {
		addImage(into, image.Data, image.Metadata)
	}
	return err
}

func applicationOf(step step) (*pb.StyleApplication, error) {
	controls := &pb.StyleControls{}
	if step.Controls != nil {
		if err := protojson.Unmarshal(step.Controls, controls); err != nil {
			return nil, err
		}
	}
	return &pb.StyleApplication{
		Style:        step.Style,
		SecondStyle:  step.SecondStyle,
		Controls:     controls,
		ResultFormat: pb.ImageFormat(pb.ImageFormat_value[step.ResultFormat]),
	}, nil
}

func addStyle(into outcome, style *pb.Style) {
	into["style"], into["style_text"] = style.GetName(), style.GetStyleText()
	into["steps"], into["photos"] = style.GetStepCount(), style.GetPhotoCount()
	into["size_bytes"], into["bundled"] = style.GetSizeBytes(), style.GetBundled()
	into["thumbnail"] = len(style.GetThumbnail()) > 0
}

func addStyled(into outcome, photos []clipstyler.StyledPhoto) {
	indexes, sizes, digests, reasons, count := []int{}, []string{}, []string{}, []string{}, 0
	for _, styled := range photos {
		size, digest, problem := "", "", outcome{"reason": ""}
		if styled.Err != nil {
			addError(problem, styled.Err)
		} else {
			metadata := styled.Image.Metadata
			size = fmt.Sprintf("%dx%d", metadata.GetWidthPx(), metadata.GetHeightPx())
			digest = fmt.Sprintf("%x", sha256.Sum256(styled.Image.Data))
			count += len(styled.Image.Data)
		}
		indexes, sizes = append(indexes, styled.Index), append(sizes, size)
		digests, reasons = append(digests, digest), append(reasons, problem["reason"].(string))
	}
	into["indexes"], into["sizes"], into["digests"], into["reasons"] = indexes, sizes, digests, reasons
	into["bytes"] = count
}
