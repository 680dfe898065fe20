from django import forms

from . import stage

MOST = 10  # Payments of one click.


class PayForm(forms.Form):
    user = forms.IntegerField(required=False)
    count = forms.IntegerField(min_value=1, max_value=MOST, required=False)

    def clean_user(self) -> int | None:
        user: int | None = self.cleaned_data["user"]
        if user is not None and user not in stage.current().users:
            raise forms.ValidationError("There is no such user.")
        return user


class RolloutForm(forms.Form):
    percentage = forms.IntegerField(min_value=0, max_value=100)


class RelayForm(forms.Form):
    do = forms.ChoiceField(choices=[(verb, verb) for verb in ("start", "stop", "kill")])


class BugForm(forms.Form):
    do = forms.ChoiceField(choices=[(verb, verb) for verb in ("break", "mend")])


class TablesForm(forms.Form):
    do = forms.ChoiceField(
        choices=[(verb, verb) for verb in ("modern", "legacy", "finish")]
    )


class TrafficForm(forms.Form):
    do = forms.ChoiceField(choices=[(verb, verb) for verb in ("start", "stop")])
